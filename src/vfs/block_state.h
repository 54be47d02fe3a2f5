// The life of one cached block as a 64-bit word, and its legal steps as pure functions.
//
//   bits   field        meaning
//   0..2   state        BlockState
//   3..18  pins         processes that are writing the block in place (state present only)
//   19     written      PostgreSQL wrote the block in this life of the compute
//   20..63 generation   raised by every step after which earlier observations are void
//
// Each function takes the word that was observed and returns the word to put there by compare-and-swap, or
// nothing when the step is not allowed now. Who loses the swap looks again. A word of zero is *untouched*:
// what that means is decided by the file's limit, the number of leading blocks that storage provides
// (it only ever falls): below it the block is absent, at or above it a zero block.
//
//   reader   readable? read bytes; look again: still_valid(before, after), or the bytes are void
//   writer   begin_write → write bytes → end_write
//   filler   remembers the word when it asks storage; begin_fill(that very word) → check the limit again →
//            write bytes → end_fill; so a fill is late, hence void, after any write, truncation or removal
//   evicter  begin_evict → check required LSN → punch a hole → end_evict, or cancel_evict
//   truncate raise the file's shape counter (odd: readers wait, and read again), lower the limit, discard() each
//            touched block behind it, shorten the file, raise the counter again
//
// Threads: values. block_state_test.cc explores every interleaving of these actors. Rules: docs/file_layer.md.

#pragma once

#include <cstdint>
#include <optional>

namespace helium::vfs {

enum class BlockState : uint8_t {
  kUntouched = 0,  // see above
  kAbsent = 1,     // evicted, storage has it
  kFilling = 2,    // one process owns the block and writes its bytes; everybody else waits
  kPresent = 3,    // the bytes in the cache file are the block
  kEvicting = 4,   // the agent makes a hole of it
  kZero = 5,       // the hole in the cache file is the block: extended here, never filled from storage
};

struct BlockWord {
  uint64_t raw = 0;

  static constexpr int kPinShift = 3;
  static constexpr uint64_t kPinOne = uint64_t{1} << kPinShift;
  static constexpr uint64_t kPinMask = uint64_t{0xFFFF} << kPinShift;
  static constexpr uint64_t kWrittenBit = uint64_t{1} << 19;
  static constexpr int kGenerationShift = 20;

  constexpr BlockState state() const { return static_cast<BlockState>(raw & 7); }
  constexpr uint32_t pins() const { return static_cast<uint32_t>((raw & kPinMask) >> kPinShift); }
  constexpr bool written() const { return raw & kWrittenBit; }
  constexpr uint64_t generation() const { return raw >> kGenerationShift; }
  constexpr BlockWord with(BlockState state) const { return {(raw & ~uint64_t{7}) | static_cast<uint64_t>(state)}; }
  constexpr BlockWord next_generation() const { return {raw + (uint64_t{1} << kGenerationShift)}; }
  friend constexpr bool operator==(BlockWord, BlockWord) = default;
};

// Where the block lies in its file, at the moment of asking.
enum class Side : uint8_t { kStorageProvides, kLocal };  // blkno < limit, blkno >= limit
constexpr Side side_of(uint32_t blkno, uint32_t limit) { return blkno < limit ? Side::kStorageProvides : Side::kLocal; }

enum class ReadPlan : uint8_t {
  kRead,      // read, then still_valid()
  kMarkZero,  // swap in mark_zero(), then look again
  kFetch,     // ask the agent, then look again
  kWait,      // somebody owns the block for the time of one system call
};
constexpr ReadPlan plan_read(BlockWord word, Side side) {
  switch (word.state()) {
    case BlockState::kUntouched: return side == Side::kStorageProvides ? ReadPlan::kFetch : ReadPlan::kMarkZero;
    case BlockState::kAbsent: return ReadPlan::kFetch;
    case BlockState::kPresent:
    case BlockState::kZero: return ReadPlan::kRead;
    case BlockState::kFilling:
    case BlockState::kEvicting: break;
  }
  return ReadPlan::kWait;
}
constexpr BlockWord mark_zero(BlockWord untouched) { return untouched.with(BlockState::kZero).next_generation(); }

// Bytes read between two looks are the block's. A write in between is PostgreSQL's affair (it locks pages).
constexpr bool still_valid(BlockWord before, BlockWord after) {
  const bool readable = after.state() == BlockState::kPresent || after.state() == BlockState::kZero;
  return readable && before.generation() == after.generation();
}

enum class WriteKind : uint8_t { kWholeBlock, kPartOfBlock };
enum class WritePlan : uint8_t {
  kStart,  // swap in `next`, write the bytes, end_write
  kFetch,  // a part of a block that is not here: fetch it first
  kWait,
};
struct WriteStep {
  WritePlan plan = WritePlan::kWait;
  BlockWord next;  // for kStart
};
constexpr WriteStep begin_write(BlockWord word, Side side, WriteKind kind) {
  const BlockWord mine{word.raw | BlockWord::kWrittenBit};
  switch (word.state()) {
    case BlockState::kPresent:
      if (word.pins() == 0xFFFF) return {WritePlan::kWait, {}};
      return {WritePlan::kStart, {mine.raw + BlockWord::kPinOne}};
    case BlockState::kZero:  // the hole is valid content, so readers need not be kept away
      return {WritePlan::kStart, {mine.with(BlockState::kPresent).raw + BlockWord::kPinOne}};
    case BlockState::kUntouched:
      if (side == Side::kLocal)
        return {WritePlan::kStart, {mine.with(BlockState::kPresent).next_generation().raw + BlockWord::kPinOne}};
      [[fallthrough]];
    case BlockState::kAbsent:  // nobody may see the hole: own the block until the bytes are there
      if (kind == WriteKind::kPartOfBlock) return {WritePlan::kFetch, {}};
      return {WritePlan::kStart, mine.with(BlockState::kFilling).next_generation()};
    case BlockState::kFilling:
    case BlockState::kEvicting: break;
  }
  return {WritePlan::kWait, {}};
}
// `started` is what begin_write returned: it tells how the block is held; `now` is the word at this moment.
constexpr BlockWord end_write(BlockWord started, BlockWord now) {
  if (started.state() == BlockState::kFilling) return now.with(BlockState::kPresent);
  return {now.raw - BlockWord::kPinOne};
}
// The bytes of a whole-block write into a hole did not reach the file: the block is absent as before.
constexpr BlockWord abort_write(BlockWord started, BlockWord now) {
  if (started.state() == BlockState::kFilling) return now.with(BlockState::kAbsent).next_generation();
  return {now.raw - BlockWord::kPinOne};
}

// Whether storage should be asked for the block at all; the word is then the ticket for begin_fill.
constexpr bool fetchable(BlockWord word, Side side) { return plan_read(word, side) == ReadPlan::kFetch; }
constexpr BlockWord begin_fill(BlockWord ticket) { return ticket.with(BlockState::kFilling).next_generation(); }
constexpr BlockWord end_fill(BlockWord filling) { return filling.with(BlockState::kPresent); }
// The fill turned out late (the limit fell below the block: it is zero now) or its bytes could not be written.
constexpr BlockWord abort_fill(BlockWord filling, Side side) {
  return filling.with(side == Side::kLocal ? BlockState::kZero : BlockState::kAbsent).next_generation();
}

constexpr std::optional<BlockWord> begin_evict(BlockWord word) {
  if (word.state() != BlockState::kPresent || word.pins() != 0) return std::nullopt;
  return word.with(BlockState::kEvicting).next_generation();
}
constexpr BlockWord end_evict(BlockWord evicting) {
  return BlockWord{evicting.raw & ~BlockWord::kWrittenBit}.with(BlockState::kAbsent).next_generation();
}
constexpr BlockWord cancel_evict(BlockWord evicting) { return evicting.with(BlockState::kPresent); }

// Truncation and removal: whatever comes at this place later starts as zeros. Nothing while somebody holds
// the block: wait and look again. The caller has lowered the limit before.
constexpr std::optional<BlockWord> discard(BlockWord word) {
  if (word.state() == BlockState::kFilling || word.state() == BlockState::kEvicting || word.pins() != 0)
    return std::nullopt;
  return BlockWord{word.raw & ~BlockWord::kWrittenBit}.with(BlockState::kZero).next_generation();
}

}  // namespace helium::vfs
