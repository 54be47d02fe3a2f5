// Goal: whatever the interleaving of PostgreSQL's reads, writes, truncations, extensions and re-creations with
//   the agent's fills and evictions, a read gives the block as some operation between the last one completed when
//   the read began and the last one started when it ended left it; and a fill never makes a file longer.
// Method: an explicit-state search. Each actor is a little program whose steps are single atomic actions (a load,
//   a compare-and-swap, a system call), written as the production code does them, over the pure functions
//   of block_state.h. Every reachable state is visited once. Planted bugs must be found by the same search.

#include "vfs/block_state.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

namespace helium::vfs {
namespace {

enum class Op : uint8_t { kWrite, kTruncate, kExtend, kRecreate };

enum class Bug {
  kNone,
  kNoLookAfterRead,        // the reader trusts what it read
  kFillTakesAnyWord,       // the fill does not insist on the word it saw when it asked
  kEvictIgnoresPins,
  kTruncateLimitLast,      // the truncation lowers the limit after it has visited the blocks
  kNoGenerations,          // the second look compares states only
  kWriterShowsHole,        // a write into an absent block makes it present at once
  kTruncateIgnoresFill,    // the truncation does not wait for a block that is being filled
  kAbsentIsZeroPage,       // reading an absent block gives the hole
  kReaderIgnoresShape,     // a truncation that is under way goes unnoticed
  kReaderIgnoresLife,      // an fd of a removed file is used with the new file's states
};

constexpr uint8_t kHole = 0xFE;  // content of a place in a file that nobody wrote: reads as zeros
constexpr uint8_t kEof = 0xFD;
constexpr uint8_t kEio = 0xFC;
constexpr int kFillers = 2;
constexpr size_t kStatesMax = 3'000'000;  // of one scenario

struct Scenario {
  std::string name;
  bool storage_has_it;  // version 0 is on storage and the file has one block; else the file is empty
  int fillers;
  int evictions;
  std::vector<Op> ops;  // operation i (from 1) makes version i
};

#pragma pack(push, 1)  // no padding: states are compared as bytes
struct State {
  // shared memory and disk
  uint64_t word;
  uint8_t limit, life, shape, required;
  bool chunk;   // the block's cell exists; a truncation skips those that do not
  int8_t path;  // inode that the name leads to, -1 none
  uint8_t size[3], content[3];
  // ghosts
  uint8_t started, completed;
  // PostgreSQL writing: one process after another, as its locks make it
  struct Writer {
    uint64_t word, held;
    uint8_t pc, op, limit, fd;
  } writer;
  struct Reader {
    uint64_t word;
    uint8_t pc, reads, limit, value, floor, fd, life, shape;
  } reader;
  struct Filler {
    uint64_t ticket, mine;
    uint8_t pc, limit, page;
  } filler[kFillers];
  struct Evicter {
    uint64_t word;
    uint8_t pc;
  } evicter;
  uint8_t fills_left, evictions_left;
};
#pragma pack(pop)

class Explorer {
 public:
  Explorer(Scenario scenario, Bug bug) : scenario_(std::move(scenario)), bug_(bug) {}

  // Empty, or what went wrong first.
  std::string run() {
    State first;
    std::memset(&first, 0, sizeof first);
    if (scenario_.storage_has_it) {
      first.limit = 1;
      first.size[0] = 1;
    }
    for (uint8_t& content : first.content) content = kHole;
    first.reader.reads = 1;
    first.fills_left = 2;
    first.evictions_left = static_cast<uint8_t>(scenario_.evictions);
    visit(first);
    while (!queue_.empty() && failure_.empty()) {
      if (seen_.size() > kStatesMax) return "the search does not end";
      const State state = queue_.back();
      queue_.pop_back();
      step_writer(state);
      step_reader(state);
      for (int i = 0; i < scenario_.fillers; ++i) step_filler(state, i);
      step_evicter(state);
    }
    return failure_;
  }
  size_t states() const { return seen_.size(); }
  size_t reads_checked() const { return reads_checked_; }

 private:
  void visit(const State& state) {
    // 128 bits of hash stand for the state: a collision among some millions has odds of 1e-24.
    const uint64_t low = std::_Hash_bytes(&state, sizeof state, 1);
    const uint64_t high = std::_Hash_bytes(&state, sizeof state, 2);
    if (seen_.insert({low, high}).second) queue_.push_back(state);
  }
  void fail(const std::string& what) {
    if (failure_.empty()) failure_ = scenario_.name + ": " + what;
  }
  static Side side(uint8_t limit) { return side_of(0, limit); }

  // --- what version i looks like to a reader ---
  bool looks_like(int version, uint8_t value) const {
    if (version == 0) return value == (scenario_.storage_has_it ? 0 : kEof);
    switch (scenario_.ops[static_cast<size_t>(version - 1)]) {
      case Op::kWrite: return value == version;
      case Op::kTruncate: return value == kEof;
      case Op::kExtend: return value == kHole;
      case Op::kRecreate: return value == kEof || value == kEio;
    }
    return false;
  }
  void check_read(const State& s) {
    ++reads_checked_;
    for (int version = s.reader.floor; version <= s.started; ++version)
      if (looks_like(version, s.reader.value)) return;
    fail("a read gave " + std::to_string(s.reader.value) + " after version " + std::to_string(s.reader.floor) +
         " was complete and " + std::to_string(s.started) + " begun");
  }

  // --- actors ---
  void step_writer(State s) {
    auto& w = s.writer;
    if (w.op >= scenario_.ops.size()) return;
    const auto version = static_cast<uint8_t>(w.op + 1);
    const auto done = [&] {
      s.completed = version;
      const uint8_t fd = w.fd;
      w = {};
      w.op = version;
      w.fd = fd;
    };
    s.started = version;
    switch (scenario_.ops[w.op]) {
      case Op::kWrite:
        switch (w.pc) {
          case 0: s.chunk = true, w.word = s.word, w.pc = 1; break;
          case 1: w.limit = s.limit, w.pc = 2; break;
          case 2: {
            WriteStep step = begin_write({w.word}, side(w.limit), WriteKind::kWholeBlock);
            if (step.plan != WritePlan::kStart || s.word != w.word) {
              w.pc = 0;
              break;
            }
            if (bug_ == Bug::kWriterShowsHole && step.next.state() == BlockState::kFilling)
              step.next = {step.next.with(BlockState::kPresent).raw + BlockWord::kPinOne};
            s.word = w.held = step.next.raw;
            s.required = version;  // nobody looks at it while we hold the block
            w.pc = 4;
            break;
          }
          case 4: s.content[w.fd] = version, s.size[w.fd] = 1, w.pc = 5; break;
          case 5:
            if (BlockWord now{s.word}; now.state() != BlockWord{w.held}.state() ||
                                       (now.state() == BlockState::kPresent && now.pins() == 0))
              fail("a block was taken from the process that writes it");
            s.word = end_write({w.held}, {s.word}).raw, done();
            break;
        }
        break;
      case Op::kTruncate:
      case Op::kRecreate: {
        const bool recreate = scenario_.ops[w.op] == Op::kRecreate;
        switch (w.pc) {
          case 0: s.life = static_cast<uint8_t>(s.life + recreate), w.pc = 7; break;
          case 7: ++s.shape, w.pc = 1; break;
          case 1: if (bug_ != Bug::kTruncateLimitLast) s.limit = 0; w.pc = 2; break;
          case 2: w.word = s.word, w.pc = s.chunk ? 3 : 4; break;
          case 3: {
            auto next = discard({w.word});
            if (!next && bug_ == Bug::kTruncateIgnoresFill) next = BlockWord{w.word}.with(BlockState::kZero).next_generation();
            if (!next || s.word != w.word) {
              w.pc = 2;
              break;
            }
            s.word = next->raw;
            w.pc = 4;
            break;
          }
          case 4:
            s.limit = 0;
            if (recreate) {
              s.path = -1;
            } else {
              s.size[w.fd] = 0;
              s.content[w.fd] = kHole;
            }
            w.pc = 8;
            break;
          case 8: ++s.shape, w.pc = 5; break;
          case 5: s.life = static_cast<uint8_t>(s.life + recreate), w.pc = 6; break;
          case 6:
            if (recreate) s.path = static_cast<int8_t>(++w.fd);  // a new, empty inode
            done();
            break;
        }
        break;
      }
      case Op::kExtend: s.size[w.fd] = 1, done(); break;
    }
    visit(s);
  }

  void step_reader(State s) {
    auto& r = s.reader;
    const auto finish = [&](uint8_t value) {
      r.value = value;
      check_read(s);
      const auto reads = static_cast<uint8_t>(r.reads - 1);
      r = {};
      r.reads = reads;
    };
    if (r.reads == 0) return;
    switch (r.pc) {
      case 0:  // open: the life, the inode, the life again
        r.floor = s.completed;
        r.life = s.life;
        if (s.life % 2 == 0) r.pc = 1;
        break;
      case 1:
        if (s.path < 0) finish(kEof);  // no such file
        else r.fd = static_cast<uint8_t>(s.path), r.pc = 2;
        break;
      case 2: r.pc = s.life == r.life ? 3 : 0; break;
      case 3:
        r.shape = s.shape;
        if (s.shape % 2 == 0) r.pc = 9;
        break;
      case 9:
        if (s.life != r.life && bug_ != Bug::kReaderIgnoresLife) finish(kEio);
        else r.pc = 4;
        break;
      case 4: s.chunk = true, r.word = s.word, r.pc = 5; break;
      case 5: r.limit = s.limit, r.pc = 6; break;
      case 6:
        switch (plan_read({r.word}, side(r.limit))) {
          case ReadPlan::kRead: r.pc = 7; break;
          case ReadPlan::kMarkZero:
            if (s.word == r.word) s.word = mark_zero({r.word}).raw;
            r.pc = 4;
            break;
          case ReadPlan::kFetch:
            if (bug_ == Bug::kAbsentIsZeroPage) r.pc = 7;
            else r.pc = 4;  // somebody fetches it sooner or later
            break;
          case ReadPlan::kWait: r.pc = 4; break;
        }
        break;
      case 7: r.value = s.size[r.fd] == 0 ? kEof : s.content[r.fd], r.pc = 8; break;
      case 8: {
        bool valid = still_valid({r.word}, {s.word});
        if (bug_ == Bug::kNoLookAfterRead || bug_ == Bug::kAbsentIsZeroPage) valid = true;
        if (s.shape != r.shape && bug_ != Bug::kReaderIgnoresShape) valid = false;
        if (bug_ == Bug::kNoGenerations) valid = still_valid({s.word}, {s.word});
        if (valid) finish(r.value);
        else r.pc = 3;
        break;
      }
    }
    visit(s);
  }

  void step_filler(State s, int which) {
    auto& f = s.filler[which];
    switch (f.pc) {
      case 0:  // asked for, or read ahead for nobody
        if (s.fills_left == 0) return;
        s.chunk = true, f.ticket = s.word, f.pc = 1;
        break;
      case 1:
        f.limit = s.limit;
        if (!fetchable({f.ticket}, side(f.limit))) {
          f = {};
          break;
        }
        --s.fills_left;
        f.page = s.required;  // the oldest answer that storage may give; it may come at any later time
        f.pc = 3;
        break;
      case 3:
        if (bug_ == Bug::kFillTakesAnyWord) {
          f.ticket = s.word;
          if (BlockWord{s.word}.pins() != 0) return;
        }
        if (s.word != f.ticket) f = {};
        else s.word = f.mine = begin_fill({f.ticket}).raw, f.pc = 4;
        break;
      case 4:
        f.limit = s.limit;
        if (BlockWord{f.ticket}.state() == BlockState::kUntouched && side(f.limit) == Side::kLocal) {
          s.word = abort_fill({f.mine}, Side::kLocal).raw;
          f = {};
        } else {
          f.pc = 5;
        }
        break;
      case 5: {
        if (s.path < 0) {
          fail("a fill found no file");
          return;
        }
        const auto inode = static_cast<size_t>(s.path);
        if (s.size[inode] == 0) {
          fail("a fill made the file longer");
          return;
        }
        s.content[inode] = f.page, f.pc = 6;
        break;
      }
      case 6: s.word = end_fill({f.mine}).raw, f = {}; break;
    }
    visit(s);
  }

  void step_evicter(State s) {
    auto& e = s.evicter;
    switch (e.pc) {
      case 0:
        if (s.evictions_left == 0) return;
        e.word = s.word, e.pc = 1;
        break;
      case 1: {
        auto next = begin_evict({e.word});
        if (!next && bug_ == Bug::kEvictIgnoresPins && BlockWord{e.word}.state() == BlockState::kPresent)
          next = BlockWord{e.word}.with(BlockState::kEvicting).next_generation();
        if (!next || s.word != e.word) e = {};
        else s.word = e.word = next->raw, --s.evictions_left, e.pc = 2;
        break;
      }
      case 2:
        // The required LSN may be committed or not; WAL goes before data, so storage may have a version that is
        // being written.
        {
          State canceled = s;
          canceled.word = cancel_evict({s.word}).raw;
          canceled.evicter = {};
          visit(canceled);
        }
        e.pc = 3;
        break;
      case 3:
        if (s.path >= 0) s.content[static_cast<size_t>(s.path)] = kHole;
        e.pc = 4;
        break;
      case 4: s.word = end_evict({s.word}).raw, e = {}; break;
    }
    visit(s);
  }

  const Scenario scenario_;
  const Bug bug_;
  std::string failure_;
  size_t reads_checked_ = 0;
  struct HashOf {
    size_t operator()(const std::pair<uint64_t, uint64_t>& key) const { return key.first; }
  };
  std::unordered_set<std::pair<uint64_t, uint64_t>, HashOf> seen_;
  std::vector<State> queue_;
};

const std::vector<Scenario>& scenarios() {
  using enum Op;
  static const std::vector<Scenario> all = {
      {"truncate and extend", true, 1, 1, {kTruncate, kExtend}},
      {"write, truncate, extend", true, 1, 0, {kWrite, kTruncate, kExtend}},
      {"truncate and write", true, 1, 0, {kTruncate, kWrite}},
      {"remove, create, write", true, 1, 0, {kRecreate, kWrite}},
      {"remove, create, extend", true, 1, 1, {kRecreate, kExtend}},
      {"new file: write, write", false, 1, 1, {kWrite, kWrite}},
      {"new file: extend, write, truncate", false, 1, 1, {kExtend, kWrite, kTruncate}},
      // The large ones last: planted bugs are mostly found before.
      {"two writes", true, 1, 2, {kWrite, kWrite}},
      {"one write, two fills", true, 2, 1, {kWrite}},
  };
  return all;
}

std::string first_failure(Bug bug) {
  for (const Scenario& scenario : scenarios()) {
    Explorer explorer(scenario, bug);
    if (std::string failure = explorer.run(); !failure.empty()) return failure;
  }
  return "";
}

TEST(BlockState, EveryInterleavingGivesEveryReaderTheBlock) {
  size_t states = 0;
  for (const Scenario& scenario : scenarios()) {
    Explorer explorer(scenario, Bug::kNone);
    EXPECT_EQ(explorer.run(), "");
    EXPECT_GT(explorer.reads_checked(), 100u) << scenario.name;
    states += explorer.states();
    std::printf("%s: %zu states\n", scenario.name.c_str(), explorer.states());
  }
  RecordProperty("states", static_cast<int>(states));
  EXPECT_GT(states, 100'000u);
}

TEST(BlockState, TheSearchFindsPlantedBugs) {
  for (const Bug bug : {Bug::kNoLookAfterRead, Bug::kFillTakesAnyWord, Bug::kEvictIgnoresPins,
                        Bug::kTruncateLimitLast, Bug::kNoGenerations, Bug::kWriterShowsHole, Bug::kTruncateIgnoresFill,
                        Bug::kAbsentIsZeroPage, Bug::kReaderIgnoresShape, Bug::kReaderIgnoresLife})
    EXPECT_NE(first_failure(bug), "") << "bug " << static_cast<int>(bug);
}

TEST(BlockState, AWordKeepsItsFieldsApart) {
  BlockWord word = BlockWord{}.with(BlockState::kPresent);
  for (int i = 0; i < 0xFFFF; ++i) {
    const WriteStep step = begin_write(word, Side::kLocal, WriteKind::kWholeBlock);
    ASSERT_EQ(step.plan, WritePlan::kStart);
    word = step.next;
  }
  EXPECT_EQ(word.pins(), 0xFFFFu);
  EXPECT_EQ(begin_write(word, Side::kLocal, WriteKind::kWholeBlock).plan, WritePlan::kWait);
  EXPECT_EQ(word.state(), BlockState::kPresent);
  EXPECT_EQ(word.generation(), 0u);
  EXPECT_TRUE(word.written());
  EXPECT_EQ(word.next_generation().pins(), 0xFFFFu);
}

TEST(BlockState, APartOfAnAbsentBlockIsFetchedBeforeItIsWritten) {
  const BlockWord untouched;
  EXPECT_EQ(begin_write(untouched, Side::kStorageProvides, WriteKind::kPartOfBlock).plan, WritePlan::kFetch);
  EXPECT_EQ(begin_write(untouched, Side::kLocal, WriteKind::kPartOfBlock).plan, WritePlan::kStart);
  const BlockWord absent = untouched.with(BlockState::kAbsent);
  EXPECT_EQ(begin_write(absent, Side::kStorageProvides, WriteKind::kPartOfBlock).plan, WritePlan::kFetch);
  EXPECT_EQ(begin_write(absent, Side::kLocal, WriteKind::kPartOfBlock).plan, WritePlan::kFetch);
}

}  // namespace
}  // namespace helium::vfs
