// Goal: whatever the power interrupts, a safekeeper comes back with all that it had promised, and can go on; and a disk
// that fills up at any moment stops it from promising, no more.
// Method: the steps of a timeline's life, each with a power cut before every single one of its disk operations, and with
// a disk that is full from every single one on; several random outcomes of each cut. Expected states come from an
// undisturbed run.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/log.h"
#include "pg/constants.h"
#include "safekeeper/safekeeper.h"
#include "sim/sanitized.h"
#include "sim/sim_disk.h"
#include "sim/wal_writer.h"

namespace helium::sim {
namespace {

using safekeeper::ControlFile;
using safekeeper::Safekeeper;
using safekeeper::Timeline;

constexpr uint64_t kSystemId = 7'000'000'000'000'000'001;
constexpr int kVersion = 15;
const Lsn kStart(2 * pg::kWalSegmentSize - 3000);  // a segment ends soon
const ProposerId kFirst{{1}}, kSecond{{2}};
const ChangerId kChanger{{3}};
constexpr uint64_t kStride = kSanitized ? 5 : 1;  // over disk operations

TenantTimelineId timeline_id() {
  TenantTimelineId id;
  id.tenant.bytes[0] = 1;
  id.timeline.bytes[0] = 2;
  return id;
}

// The two terms' logs: the second one leaves the first before the segment's end.
struct Logs {
  Bytes first, second;
  Lsn fork, first_short, first_end, second_end;

  Logs() {
    WalWriter writer(kStart, Lsn(), kSystemId, kVersion);
    const auto add = [](Bytes& log, const Bytes& record) { log.insert(log.end(), record.begin(), record.end()); };
    add(first, writer.checkpoint(1));
    add(first, writer.record(500, 1));
    fork = writer.end();
    second = first;
    WalWriter other = writer;
    add(first, writer.record(900, 2));
    first_short = writer.end();
    for (int i = 0; i < 9; ++i) add(first, writer.record(1000, 3));
    first_end = writer.end();
    add(second, other.checkpoint(2));
    for (int i = 0; i < 9; ++i) add(second, other.record(1000, 4));
    second_end = other.end();
  }
};
const Logs& logs() {
  static const Logs all;
  return all;
}

TermHistory history(uint64_t term) {
  TermHistory entries{{1, kStart}};
  if (term == 2) entries.push_back({2, logs().fork});
  return entries;
}

// One machine with the production safekeeper on it.
class Machine {
 public:
  explicit Machine(uint64_t seed) : random(seed), disk(random) {}
  ~Machine() {
    disk.kill_process();
    safekeeper_.reset();
  }

  void boot() {
    safekeeper_.reset();
    auto opened = Safekeeper::open({.id = 1, .datadir = "/data", .broker = {}, .environment = {.disk = disk.mount(), .time = &time}});
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    safekeeper_ = std::move(*opened);
  }
  void power_off() {
    disk.cut_power();
    safekeeper_.reset();
  }
  void after_power_cut() { safekeeper_.reset(); }
  void close() {
    disk.closing();
    safekeeper_.reset();
    disk.kill_process();
  }
  Safekeeper& safekeeper() { return *safekeeper_; }
  std::shared_ptr<Timeline> timeline() {
    const auto found = safekeeper_->timeline(timeline_id());
    return found ? *found : nullptr;
  }
  // Bytes [start of the timeline, end), as readers see them.
  Bytes wal(Lsn end) {
    Bytes bytes(end - kStart);
    safekeeper::WalReader reader(timeline()->environment().disk, timeline()->folder());
    EXPECT_TRUE(reader.read(kStart, bytes).has_value());
    return bytes;
  }

  struct Time : TimeSource {
    TimePoint now() const override { return at; }
    TimePoint at = TimePoint() + std::chrono::hours(1);
  };
  Random random;
  SimDisk disk;
  Time time;

 private:
  std::unique_ptr<Safekeeper> safekeeper_;
};

wire::Membership membership(uint32_t generation) {
  wire::Membership all{generation, {{1, "a", 1, 1}, {2, "b", 1, 1}, {3, "c", 1, 1}}, {}, {}};
  if (generation > 1) all.new_members = {{1, "a", 1, 1}, {2, "b", 1, 1}, {4, "d", 1, 1}};
  return all;
}

template <typename T>
Status status(const Result<T>& result) {
  if (!result) return fail(result.error());
  return {};
}

// Appends up to `end` from wherever the timeline is, in pieces that split records, and flushes.
Status append(Machine& machine, uint64_t term, const Bytes& log, Lsn end) {
  const auto timeline = machine.timeline();
  for (Lsn at = timeline->view().flush_lsn; at < end;) {
    const ByteView piece = ByteView(log).subspan(at - kStart, std::min<uint64_t>(700, end - at));
    HELIUM_TRY(timeline->append({.generation = timeline->view().membership.generation, .term = term, .wants_reply = true,
                                 .start_lsn = at, .commit_lsn = Lsn(), .wal = piece}));
    at = at + piece.size();
  }
  if (timeline->flush().flush_lsn < end) return fail(ErrorCode::kInternal, "not flushed");
  return {};
}

struct Step {
  const char* name;
  std::function<Status(Machine&)> run;  // may be repeated
};
const std::vector<Step>& steps() {
  static const std::vector<Step> all{
      {"create", [](Machine& m) {
         ControlFile control;
         control.safekeeper_id = 1;
         control.id = timeline_id();
         control.pg_version = kVersion;
         control.system_id = kSystemId;
         control.acceptor.membership = membership(1);
         control.acceptor.start_lsn = control.acceptor.commit_lsn = control.local_start_lsn = kStart;
         control.flushed_lsn = control.verify_lsn = kStart;
         return m.safekeeper().create_timeline(control);
       }},
      {"vote", [](Machine& m) { return status(m.timeline()->vote({1, 1, kFirst})); }},
      {"adopt", [](Machine& m) { return status(m.timeline()->elected({1, 1, kFirst, history(1)})); }},
      {"append", [](Machine& m) { return append(m, 1, logs().first, logs().first_short); }},
      {"append over a segment's end", [](Machine& m) { return append(m, 1, logs().first, logs().first_end); }},
      {"housekeep", [](Machine& m) {
         m.time.at += std::chrono::minutes(1);
         m.timeline()->housekeep();
         return Status();
       }},
      {"vote again", [](Machine& m) { return status(m.timeline()->vote({1, 2, kSecond})); }},
      {"truncate", [](Machine& m) { return status(m.timeline()->elected({1, 2, kSecond, history(2)})); }},
      {"append in the second term", [](Machine& m) { return append(m, 2, logs().second, logs().second_end); }},
      {"prepare a change", [](Machine& m) { return status(m.timeline()->prepare({2, kChanger})); }},
      {"accept a change", [](Machine& m) { return status(m.timeline()->accept({membership(2), kChanger})); }},
      {"close", [](Machine& m) {
         m.close();
         m.boot();
         return Status();
       }},
      {"delete", [](Machine& m) { return m.safekeeper().delete_timeline(timeline_id()); }},
  };
  return all;
}

// What must be durable, of a view.
struct State {
  bool exists = false;
  uint32_t generation = 0;
  uint64_t term = 0, log_term = 0;
  Lsn flush_lsn;
};
State state_of(Machine& machine) {
  const auto timeline = machine.timeline();
  if (!timeline) return {};
  const Timeline::View view = timeline->view();
  return {true, view.membership.generation, view.term, view.log_term, view.flush_lsn};
}

// The states before and after each step of an undisturbed run.
std::vector<State> expected_states() {
  Machine machine(1);
  machine.boot();
  std::vector<State> states{{}};
  for (const Step& step : steps()) {
    const Status done = step.run(machine);
    EXPECT_TRUE(done.has_value()) << step.name << ": " << done.error().message;
    states.push_back(state_of(machine));
  }
  return states;
}

void check_between(Machine& machine, const State& before, const State& after, bool done) {
  const State now = state_of(machine);
  if (!now.exists) {
    EXPECT_TRUE(!before.exists || !after.exists) << "the timeline is gone";
    EXPECT_FALSE(done && after.exists) << "the timeline is gone";
    return;
  }
  EXPECT_FALSE(done && !after.exists) << "the timeline is back";
  if (!after.exists) return;
  const State& least = done ? after : before;
  EXPECT_GE(now.term, least.term);
  EXPECT_LE(now.term, after.term);
  EXPECT_GE(now.generation, least.generation);
  if (done) {
    EXPECT_EQ(now.log_term, after.log_term);
  }
  // A truncation goes down, everything else up.
  EXPECT_GE(now.flush_lsn, std::min(least.flush_lsn, after.flush_lsn));
  EXPECT_LE(now.flush_lsn, std::max(before.flush_lsn, after.flush_lsn));
  const Bytes& log = now.log_term == 2 ? logs().second : logs().first;
  EXPECT_EQ(machine.wal(now.flush_lsn), Bytes(log.begin(), log.begin() + static_cast<ptrdiff_t>(now.flush_lsn - kStart)));
}

// All that is left to do, twice, as a world that asks again would.
void go_on(Machine& machine, size_t from, const std::vector<State>& expected) {
  for (size_t i = from; i < steps().size(); ++i) {
    const Status done = steps()[i].run(machine);
    ASSERT_TRUE(done.has_value()) << "then " << steps()[i].name << ": " << done.error().message;
    check_between(machine, expected[i], expected[i + 1], true);
  }
}

class PowerCutTest : public testing::Test {
 protected:
  void SetUp() override { log::set_level(static_cast<log::Level>(static_cast<int>(log::Level::kError) + 1)); }
  void TearDown() override { log::set_level(log::Level::kInfo); }

  // Everything up to step `index`, undisturbed.
  static void run_before(Machine& machine, size_t index) {
    machine.boot();
    for (size_t i = 0; i < index; ++i) ASSERT_TRUE(steps()[i].run(machine).has_value()) << steps()[i].name;
  }
  static uint64_t operations_of(size_t index) {
    Machine machine(1);
    run_before(machine, index);
    const uint64_t before = machine.disk.operations();
    EXPECT_TRUE(steps()[index].run(machine).has_value());
    return machine.disk.operations() - before;
  }
};

TEST_F(PowerCutTest, BeforeEveryDiskOperationOfEveryStep) {
  const std::vector<State> expected = expected_states();
  for (size_t index = 0; index < steps().size(); ++index) {
    const uint64_t operations = operations_of(index);
    EXPECT_GT(operations, 0u) << steps()[index].name;
    for (uint64_t cut = 0; cut <= operations; cut += kStride) {
      for (uint64_t seed = 1; seed <= (kSanitized ? 1 : 2); ++seed) {
        SCOPED_TRACE(fmt::format("{}: power cut before operation {} of {}, seed {}", steps()[index].name, cut, operations, seed));
        Machine machine(seed * 1000 + cut);
        run_before(machine, index);
        machine.disk.cut_at(cut);
        bool done = false;
        try {
          done = steps()[index].run(machine).has_value() && cut == operations;
          machine.power_off();
        } catch (const PowerCut&) {
          machine.after_power_cut();
        }
        machine.boot();
        check_between(machine, expected[index], expected[index + 1], done);
        if (index + 1 < steps().size()) go_on(machine, index, expected);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(PowerCutTest, OfAKilledProcessAndThenOfTheMachine) {
  // What a process that was killed left in the page cache is read by the next one: it must not be promised before it is
  // durable.
  const std::vector<State> expected = expected_states();
  for (size_t index = 0; index < steps().size(); ++index) {
    const uint64_t operations = operations_of(index);
    for (uint64_t cut = 0; cut <= operations; cut += kStride) {
      for (uint64_t seed = 1; seed <= 1; ++seed) {
        SCOPED_TRACE(fmt::format("{}: killed before operation {} of {}, seed {}", steps()[index].name, cut, operations, seed));
        Machine machine(seed * 1000 + cut);
        run_before(machine, index);
        machine.disk.kill_at(cut);
        try {
          (void)steps()[index].run(machine);
          machine.disk.kill_process();
        } catch (const PowerCut&) {
        }
        machine.after_power_cut();
        machine.boot();
        if (machine.timeline() && index == 0) {
          ASSERT_TRUE(steps()[0].run(machine).has_value());  // it is the answer that promises
        }
        const State said = state_of(machine);
        machine.power_off();
        machine.boot();
        const State now = state_of(machine);
        EXPECT_EQ(now.exists, said.exists);
        EXPECT_EQ(now.generation, said.generation);
        EXPECT_EQ(now.term, said.term);
        EXPECT_EQ(now.log_term, said.log_term);
        EXPECT_GE(now.flush_lsn, said.flush_lsn);  // what was cut off comes back if nothing was promised since
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(PowerCutTest, WhatAVoteLeftOutDoesNotGrowBehindIt) {
  // A record whose last bytes are zeros is whole on the disk before all of it has come: segments are created zeroed. The
  // winner of the vote did not hear of it, so it must not be there after a crash.
  for (const bool flushed : {false, true}) {
    Machine machine(1);
    run_before(machine, 3);
    auto timeline = machine.timeline();
    WalWriter writer(kStart, Lsn(), kSystemId, kVersion);
    const Bytes record = writer.record(501, 1);
    ASSERT_EQ(record.back(), std::byte{0}) << "padding";
    ASSERT_TRUE(timeline->append({.generation = 1, .term = 1, .wants_reply = true, .start_lsn = kStart, .commit_lsn = Lsn(),
                                  .wal = ByteView(record).first(record.size() - 1)}));
    if (flushed) (void)timeline->flush();
    const auto vote = timeline->vote({1, 2, kSecond});
    ASSERT_TRUE(vote.has_value());
    EXPECT_EQ(vote->flush_lsn, kStart);
    timeline.reset();
    machine.power_off();
    machine.boot();
    ASSERT_NE(machine.timeline(), nullptr);
    EXPECT_EQ(machine.timeline()->view().flush_lsn, kStart);
  }
}

TEST_F(PowerCutTest, AFullDiskStopsPromisesAndNothingElse) {
  const std::vector<State> expected = expected_states();
  for (size_t index = 0; index + 1 < steps().size(); ++index) {
    const uint64_t operations = operations_of(index);
    for (uint64_t full = 0; full <= operations; full += kStride) {
      for (const bool then_power_cut : {false, true}) {
        SCOPED_TRACE(fmt::format("{}: full from operation {} of {} on, {}", steps()[index].name, full, operations,
                                 then_power_cut ? "then a power cut" : "then room again"));
        Machine machine(full + 1);
        run_before(machine, index);
        machine.disk.fill_at(full);
        const Status done = steps()[index].run(machine);
        if (!done) {
          EXPECT_EQ(done.error().code, ErrorCode::kNoSpace) << done.error().message;
        }
        if (then_power_cut) {
          machine.power_off();
          machine.disk.set_full(false);
          machine.boot();
        }
        machine.disk.set_full(false);
        check_between(machine, expected[index], expected[index + 1], done.has_value());
        go_on(machine, index, expected);
        if (HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace helium::sim
