// World: one schedule of the WAL service under faults, and what everybody in it shares.
//
// A seed decides everything: how many safekeepers there are, how their disks tear, where the timeline starts (often just
// before a segment's or a page's end), how long records are, and which event comes next. After `steps` events the faults
// stop, and progress must follow: a new compute commits, everybody gets there, an unfinished change of members ends.
// HELIUM_SIM_TRACE=1 writes what happens to stderr.

#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/planted_bugs.h"
#include "sim/changer.h"
#include "sim/compute.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/reader.h"
#include "sim/truth.h"

namespace helium::sim {

// What happened, to be summed up over schedules.
struct Figures {
  uint64_t schedules = 0, events = 0, elections = 0, records = 0, commits = 0, records_read = 0;
  uint64_t crashes = 0, truncations = 0, catch_ups = 0, full_disks = 0, lost_disks = 0, damaged = 0;
  uint64_t lost_pages = 0, torn_pages = 0, lost_names = 0;
  uint64_t partitions = 0, changes_started = 0, changes_done = 0, changers_died = 0;
  void add(const Figures& other);
};
std::string to_string(const Figures& figures);

struct Outcome {
  std::optional<std::string> violation;
  bool stood_still = false;  // that is the violation: no progress
  Figures figures;
  uint64_t fingerprint = 0;  // equal for equal runs
};

inline constexpr int kSteps = 2000;
inline constexpr size_t kComputesAlive = 3;

// What a schedule aims at; three of eight at changes, one at disks. A seed's profile never changes.
enum class Profile {
  kGeneral,  // a bit of everything
  kChanges,  // one change of members after the other, two at once, few members, networks that fall apart in two
  kDisks,    // the same networks, so that logs part; kills, cuts at truncations, always near a segment's end
};
Profile profile_of(uint64_t seed);

Outcome run(uint64_t seed, Bug bug = Bug::kNone, int steps = kSteps);

// A clock that jumps.
class SimTime : public TimeSource {
 public:
  TimePoint now() const override { return now_; }
  void pass(std::chrono::milliseconds time) { now_ += time; }

 private:
  TimePoint now_ = TimePoint() + std::chrono::hours(1000);
};

// A vote that was given, with what only the checkers may look at: the voter's log.
struct Vote {
  uint64_t log_term = 0;
  Bytes log;
};

class World {
 public:
  static constexpr const char* kDatadir = "/data";
  static constexpr int kPgVersion = 15;
  static constexpr uint64_t kSystemId = 7'000'000'000'000'000'001;
  static TenantTimelineId timeline_id();
  static Lsn start_of(const World& world) { return world.start_; }

  explicit World(uint64_t seed);
  ~World();
  Outcome run(int steps);

  // -- for those who live in it ---------------------------------------------------------------------------------------
  Node* node(uint64_t id);        // null: there is none
  Node& any_node();
  Compute* compute(Address address);  // null: it is gone
  Changer* changer(Address address);
  safekeeper::ControlFile initial_control(uint64_t node) const;
  bool faulty() const { return !quiet_; }
  bool is_slow(uint64_t node) const { return !quiet_ && slow_node_ == node; }
  void aim_at_truncation(SimDisk& disk);
  void note_vote(uint64_t node, const wire::VoteRequest& request, uint64_t log_term, Bytes log);
  const Vote* vote_of(uint64_t node, uint64_t term, const ProposerId& proposer) const;

  template <typename... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (tracing_) std::fprintf(stderr, "%6d %s\n", step_, fmt::format(format, std::forward<Args>(args)...).c_str());
  }

  Random random;
  SimTime time;
  Network network;
  uint64_t send_size() { return quiet_ ? wire::kMaxAppendBytes : random.between(1, send_bytes_max); }  // of one append
  uint64_t record_bytes_max = 0;  // of a long record

 private:
  Lsn choose_start();
  const Profile profile_;

 public:
  const Lsn start_;
  Truth truth;
  Figures figures;

 private:
  void create_timeline();
  void new_compute();
  Compute& newest_compute() { return *computes_.back(); }
  Compute& any_live_compute();
  void work();
  void deliver_one();
  void fault();
  void hurt_a_node();
  void cut_links();
  bool can_lose(const Node& victim) const;
  const wire::Membership* newest_membership() const;  // null before there is any
  void add_changer(walclient::MembershipChange::Config config);
  void start_change();
  void resume_change();
  void drop_changer(Changer* changer);
  Changer* live_changer();  // one of those; null: there is none
  void fall_apart();
  // -- plots.cc
  void hold_apart(Address one, Address other);
  void begin_plot();
  void continue_plot();
  void work_between(Compute& compute, const std::set<uint64_t>& nodes);
  void kill_and_cut(Node& node);
  void stop_faults();
  void prove_progress();
  bool everybody_is_there(Lsn target);
  void collect_disk_figures();

  const bool tracing_;
  int step_ = 0;
  bool quiet_ = false;
  size_t member_count_ = 3;
  uint64_t cut_one_in_ = 0;
  bool has_damage_ = false, has_full_disks_ = false, has_changes_ = false, has_kills_ = false;
  bool is_calm_ = false;  // few faults but plots
  uint64_t send_bytes_max = 0;
  uint64_t slow_node_ = 0;
  int plot_stage_ = 0, plot_until_ = 0;  // no plot; while a change goes on; behind it
  Address plot_compute_ = 0;
  std::set<uint64_t> plot_side_, plot_rest_;
  std::map<uint64_t, std::unique_ptr<Node>> nodes_;
  std::deque<std::unique_ptr<Compute>> computes_;  // the last ones are alive
  std::deque<std::unique_ptr<Changer>> changers_;
  std::vector<Changer*> live_changers_;
  bool stood_still_ = false;
  std::deque<std::unique_ptr<Reader>> readers_;
  std::map<std::tuple<uint64_t, uint64_t, ProposerId>, Vote> votes_;
};

}  // namespace helium::sim
