// wal_sim: schedules of the WAL service's simulation, for hours if wanted; stores the seeds that fail.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>

#include "base/check_handler.h"
#include "base/log.h"
#include "sim/planted.h"

namespace helium::sim {
namespace {

struct Arguments {
  uint64_t first_seed = 0;  // 0: by chance
  uint64_t count = 0;       // 0: until the time is over
  double hours = 0;
  unsigned threads = std::thread::hardware_concurrency();
  std::string failures = "sim_failures.txt";
  std::string bug;  // name of a planted bug to look for; empty: none
};

class Campaign {
 public:
  explicit Campaign(Arguments arguments) : arguments_(std::move(arguments)), next_(arguments_.first_seed) {}

  int run() {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::max(1u, arguments_.threads); ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    report();
    return failed_ == 0 ? 0 : 1;
  }

 private:
  using Clock = std::chrono::steady_clock;

  bool is_over(uint64_t seed) const {
    if (arguments_.count != 0) return seed - arguments_.first_seed >= arguments_.count;
    return Clock::now() - begin_ > std::chrono::duration<double, std::ratio<3600>>(arguments_.hours);
  }
  void work() {
    for (uint64_t seed = next_++; !is_over(seed); seed = next_++) {
      if (bug_ != nullptr && profile_of(seed) != bug_->profile) continue;
      const Outcome outcome = helium::sim::run(seed, bug_ != nullptr ? bug_->bug : Bug::kNone);
      const std::lock_guard lock(mutex_);
      sum_.add(outcome.figures);
      if (outcome.violation) {
        ++failed_;
        std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), outcome.violation->c_str());
        if (bug_ == nullptr) std::ofstream(arguments_.failures, std::ios::app) << seed << "  # " << *outcome.violation << "\n";
      }
      if (Clock::now() - told_ > std::chrono::seconds(30)) report();
    }
  }
  void report() {
    told_ = Clock::now();
    std::printf("%.0f s, %llu failed: %s\n", std::chrono::duration<double>(told_ - begin_).count(),
                static_cast<unsigned long long>(failed_), to_string(sum_).c_str());
    std::fflush(stdout);
  }

  static const Planted* planted_by_name(const std::string& name) {
    const auto found = std::ranges::find(kPlanted, name, [](const Planted& one) { return std::string(one.name); });
    return found == std::end(kPlanted) ? nullptr : found;
  }

  const Arguments arguments_;
  const Planted* const bug_ = planted_by_name(arguments_.bug);
  const Clock::time_point begin_ = Clock::now();
  std::atomic<uint64_t> next_;
  std::mutex mutex_;
  Clock::time_point told_ = Clock::now();
  Figures sum_;
  uint64_t failed_ = 0;
};

}  // namespace
}  // namespace helium::sim

int main(int argc, char** argv) {
  using namespace helium;
  CLI::App app{"Simulates the WAL service under faults: each seed is a schedule"};
  sim::Arguments arguments;
  app.add_option("--seed", arguments.first_seed, "the first seed; by chance if none");
  app.add_option("--count", arguments.count, "so many schedules");
  app.add_option("--hours", arguments.hours, "… or for so long");
  app.add_option("--threads", arguments.threads, "at once")->capture_default_str();
  app.add_option("--failures", arguments.failures, "file to append failing seeds to")->capture_default_str();
  std::vector<std::string> names;
  for (const sim::Planted& bug : sim::kPlanted) names.emplace_back(bug.name);
  app.add_option("--bug", arguments.bug, "switch a planted bug on, and run the schedules that aim at it")
      ->check(CLI::IsMember(names));
  CLI11_PARSE(app, argc, argv);
  if (arguments.first_seed == 0) arguments.first_seed = std::random_device()() * uint64_t{1'000'000} + 1;
  if (arguments.count == 0 && arguments.hours == 0) arguments.count = 100;
  log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1));  // what fails here is meant to
  throw_on_failed_check();
  std::printf("first seed %llu\n", static_cast<unsigned long long>(arguments.first_seed));
  return sim::Campaign(arguments).run();
}
