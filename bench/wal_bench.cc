// wal_bench: what the WAL service costs beside the disk and the network that it stands on, as ratios in one run.
//
//   wal_bench [ROUNDS [JSON_FILE]]     in $TMPDIR, which should be the disk of interest
//
// Real safekeeper processes, loopback, the proposer that computes use. Each round takes a short sample of everything in
// turn, so that a noisy neighbour hits all; a figure is the median of its samples, a ratio that of two medians.
// What is compared with what: bench/README.md.

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "base/log.h"
#include "io/durable_file.h"
#include "safekeeper/test_support.h"

namespace helium::safekeeper {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr size_t kBatch = 128 * 1024;
constexpr size_t kSmallRecord = 1024;
constexpr size_t kCommitBytes = 200;  // about what a small transaction writes
constexpr auto kSample = 150ms;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> samples) {
  CHECK(!samples.empty());
  std::ranges::nth_element(samples, samples.begin() + static_cast<ptrdiff_t>(samples.size() / 2));
  return samples[samples.size() / 2];
}

// Name → samples, in a unit that the name tells.
using Samples = std::map<std::string, std::vector<double>>;

// -- what it stands on ----------------------------------------------------------------------------------------------------

// Sequential writes into a file that was written with zeros and synced before, an fdatasync behind each.
class LocalWrites {
 public:
  explicit LocalWrites(const std::filesystem::path& folder) : folder_(folder) {
    auto file = open_file(folder / "local", O_RDWR | O_CREAT);
    CHECK(file.has_value());
    file_ = std::move(*file);
    const Bytes zeros(1 << 20);
    for (size_t at = 0; at < kFileBytes; at += zeros.size()) CHECK(pwrite_all(file_, zeros, at).has_value());
    fsync_or_die(file_, "wal_bench");
  }
  // Bytes per second.
  double throughput(size_t batch) {
    const auto begin = Clock::now();
    size_t written = 0;
    for (; Clock::now() - begin < kSample; written += batch) write(batch);
    return static_cast<double>(written) / seconds_since(begin);
  }
  // The same into a new file that grows, as dd does it.
  double throughput_into_new_file(size_t batch) {
    const std::filesystem::path path = folder_ / "new";
    std::filesystem::remove(path);
    auto file = open_file(path, O_RDWR | O_CREAT);
    CHECK(file.has_value());
    const auto begin = Clock::now();
    size_t written = 0;
    for (; Clock::now() - begin < kSample; written += batch) {
      CHECK(pwrite_all(*file, ByteView(data_).first(batch), written).has_value());
      fdatasync_or_die(*file, "wal_bench");
    }
    return static_cast<double>(written) / seconds_since(begin);
  }
  // Seconds each.
  void latencies(size_t size, int count, std::vector<double>& out) {
    for (int i = 0; i < count; ++i) {
      const auto begin = Clock::now();
      write(size);
      out.push_back(seconds_since(begin));
    }
  }

 private:
  static constexpr size_t kFileBytes = 64 << 20;
  void write(size_t size) {
    if (at_ + size > kFileBytes) at_ = 0;
    CHECK(pwrite_all(file_, ByteView(data_).first(size), at_).has_value());
    fdatasync_or_die(file_, "wal_bench");
    at_ += size;
  }
  const std::filesystem::path folder_;
  Fd file_;
  size_t at_ = 0;
  const Bytes data_ = Bytes(1 << 20, std::byte{'x'});
};

// A message of `size` bytes to another process over TCP on the loopback, and back.
class Echo {
 public:
  Echo() {
    const Fd listener = std::move(*tcp_listen({"127.0.0.1", 0}));
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      const Result<Fd> peer = tcp_accept(listener);
      Bytes message(1 << 16);
      while (true) {
        const Result<size_t> got = recv_some(*peer, message);
        if (!got || !send_all(*peer, ByteView(message).first(*got))) _exit(0);
      }
    }
    socket_ = std::move(*tcp_connect({"127.0.0.1", local_port(listener)}, 1s));
  }
  ~Echo() {
    socket_.reset();
    waitpid(pid_, nullptr, 0);
  }
  void latencies(size_t size, int count, std::vector<double>& out) {
    Bytes message(size, std::byte{'x'});
    for (int i = 0; i < count; ++i) {
      const auto begin = Clock::now();
      CHECK(send_all(socket_, message).has_value());
      CHECK(recv_exact(socket_, message).has_value());
      out.push_back(seconds_since(begin));
    }
  }

 private:
  pid_t pid_;
  Fd socket_;
};

// -- the WAL service ------------------------------------------------------------------------------------------------------

// A number from a daemon's metrics.
double metric(const HostPort& address, const std::string& name) {
  const auto body = http::expect_ok(http::request(address, "GET", "/metrics"));
  CHECK(body.has_value());
  const size_t at = body->find("\n" + name + " ");
  CHECK(at != std::string::npos);
  return std::stod(body->substr(at + name.size() + 2));
}

// Safekeepers and a proposer that has won its term.
class Service {
 public:
  explicit Service(int safekeepers) : cluster_(safekeepers), proposer_((cluster_.create_timeline(), cluster_.proposer_options())) {
    const auto elected = proposer_.elect(10s);
    if (!elected) {
      std::fprintf(stderr, "wal_bench: no election: %s\n", elected.error().message.c_str());
      std::exit(1);
    }
  }

  // Bytes per second. Batches of whole records; one is on its way while the one before it is synced, never more.
  double throughput(size_t batch, size_t record, bool record_by_record) {
    std::vector<Bytes> records;  // made beforehand: that is PostgreSQL's work
    size_t total = 0;
    const size_t wanted = sample_bytes_[{batch, record}];
    const Lsn start = maker_.end();
    while (total < std::max(wanted, 2 * batch)) {
      records.push_back(record_by_record ? exact_record(record) : exact_records(batch, record));
      total += records.back().size();
    }
    const auto begin = Clock::now();
    Lsn at = start, batch_start = start, previous = start;
    for (const Bytes& bytes : records) {
      proposer_.append(at, bytes);
      at = at + bytes.size();
      if (at - batch_start < batch) continue;
      wait(previous);
      previous = batch_start = at;
    }
    wait(at);
    const double rate = static_cast<double>(total) / seconds_since(begin);
    sample_bytes_[{batch, record}] = static_cast<size_t>(std::min(rate * std::chrono::duration<double>(kSample).count(), 256e6));
    return rate;
  }
  // One record at a time, each committed before the next: seconds each.
  void latencies(size_t size, int count, std::vector<double>& out) {
    for (int i = 0; i < count; ++i) {
      const Lsn start = maker_.end();
      const Bytes wal = exact_record(size);
      const auto begin = Clock::now();
      proposer_.append(start, wal);
      wait(maker_.end());
      out.push_back(seconds_since(begin));
    }
  }
  struct Synced {
    double bytes, syncs;
  };
  Synced synced() const {
    return {metric(cluster_.http(1), "safekeeper_append_bytes_total"), metric(cluster_.http(1), "safekeeper_fsync_seconds_count")};
  }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  // A record that takes `size` bytes of WAL, but for page headers.
  Bytes exact_record(size_t size) { return maker_.record(size - pg::kWalRecordHeader - 5); }
  Bytes exact_records(size_t bytes, size_t record) {
    Bytes all;
    while (all.size() < bytes) {
      const Bytes one = exact_record(record);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }
  void wait(Lsn lsn) { CHECK(proposer_.wait_commit(lsn, 60s).has_value()); }

  test::Cluster cluster_;
  const std::filesystem::path folder_ = cluster_.folder();
  walclient::WalProposer proposer_;
  test::WalMaker maker_{test::kStart};
  std::map<std::pair<size_t, size_t>, size_t> sample_bytes_;  // so that a sample takes about kSample
};

// -- the figures ----------------------------------------------------------------------------------------------------------

void run(int rounds, const char* json_file) {
  Echo echo;  // first: forks
  Service one(1), three(3);
  LocalWrites local(one.folder());
  Samples samples;
  Service::Synced batches{}, streamed{};
  const auto count_syncs = [&](Service::Synced& into, auto&& work) {
    const Service::Synced before = one.synced();
    work();
    const Service::Synced after = one.synced();
    into.bytes += after.bytes - before.bytes;
    into.syncs += after.syncs - before.syncs;
  };
  for (int round = -1; round < rounds; ++round) {
    if (round == 0) {  // the first one warms up
      samples.clear();
      batches = streamed = {};
    }
    samples["local_128k"].push_back(local.throughput(kBatch));
    samples["local_new_128k"].push_back(local.throughput_into_new_file(kBatch));
    count_syncs(batches, [&] { samples["wal_128k"].push_back(one.throughput(kBatch, 8 * kSmallRecord, false)); });
    count_syncs(streamed, [&] { samples["wal_1k_streamed"].push_back(one.throughput(kBatch, kSmallRecord, true)); });
    local.latencies(kSmallRecord, 100, samples["local_1k"]);
    one.latencies(kSmallRecord, 100, samples["wal_1k"]);
    local.latencies(kCommitBytes, 100, samples["local_commit"]);
    echo.latencies(kCommitBytes, 100, samples["echo"]);
    three.latencies(kCommitBytes, 100, samples["commit"]);
  }

  std::map<std::string, double> figures;
  for (const auto& [name, values] : samples) figures[name] = median(values);
  const double per_batch = batches.bytes / batches.syncs, per_stream = streamed.bytes / streamed.syncs;
  const auto mb = [&](const char* name) { return figures[name] / 1e6; };
  const auto us = [&](const char* name) { return figures[name] * 1e6; };
  const std::map<std::string, double> ratios{
      {"append_128k", figures["wal_128k"] / figures["local_new_128k"]},
      {"append_128k_to_zeroed", figures["wal_128k"] / figures["local_128k"]},
      {"append_1k_streamed", figures["wal_1k_streamed"] / figures["local_new_128k"]},
      {"append_1k_streamed_to_zeroed", figures["wal_1k_streamed"] / figures["local_128k"]},
      {"append_1k_single", figures["local_1k"] / figures["wal_1k"]},
      {"commit", figures["commit"] / (figures["local_commit"] + figures["echo"])},
  };
  fmt::print("WAL append, one safekeeper (aim: at least)                 ratio   aim\n");
  fmt::print("  128 kB batches: {:.0f} MB/s, local {:.0f} MB/s into a new file ({:.0f} kB a sync){:>8.2f}  0.80\n",
             mb("wal_128k"), mb("local_new_128k"), per_batch / 1024, ratios.at("append_128k"));
  fmt::print("    local {:.0f} MB/s into a file of zeros{:>24.2f}\n", mb("local_128k"), ratios.at("append_128k_to_zeroed"));
  fmt::print("  1 kB records, streamed: {:.0f} MB/s ({:.0f} kB a sync){:>15.2f}  0.50\n", mb("wal_1k_streamed"),
             per_stream / 1024, ratios.at("append_1k_streamed"));
  fmt::print("    to the file of zeros{:>38.2f}\n", ratios.at("append_1k_streamed_to_zeroed"));
  fmt::print("  1 kB records, a sync each: {:.0f} us, local {:.0f} us{:>17.2f}  0.50\n", us("wal_1k"), us("local_1k"),
             ratios.at("append_1k_single"));
  fmt::print("commit latency, one client, three safekeepers (aim: at most)\n");
  fmt::print("  commit {:.0f} us, local write and sync {:.0f} us, round trip {:.0f} us{:>7.2f}  1.50\n", us("commit"),
             us("local_commit"), us("echo"), ratios.at("commit"));
  if (json_file != nullptr) {
    std::ofstream(json_file) << nlohmann::json{{"figures", figures},
                                               {"ratios", ratios},
                                               {"bytes_per_sync", {{"wal_128k", per_batch}, {"wal_1k_streamed", per_stream}}}}
                                    .dump(2)
                             << "\n";
  }
}

}  // namespace
}  // namespace helium::safekeeper

int main(int argc, char** argv) {
  helium::safekeeper::run(argc > 1 ? std::atoi(argv[1]) : 15, argc > 2 ? argv[2] : nullptr);
  return 0;
}
