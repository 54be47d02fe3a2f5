#include "redo/heap_prune.h"

#include "redo/heap_records.h"

namespace helium::redo {

namespace {

// xl_heap_prune of 17 and later: reason u8, flags u8, then the conflict horizon u32 if there is one, unaligned.
constexpr uint8_t kCleanupLock = 0x04;
constexpr uint8_t kHasConflictHorizon = 0x08;
constexpr uint8_t kHasFreezePlans = 0x10;
constexpr uint8_t kHasRedirects = 0x20;
constexpr uint8_t kHasDead = 0x40;
constexpr uint8_t kHasUnused = 0x80;

// xl_heap_prune up to 16: conflict horizon u32, nredirected u16, ndead u16, 16 adds isCatalogRel. Block data: redirects,
// dead items, and what remains is unused items.
Result<HeapPrune> parse_prune(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(8));
  const size_t nredirected = redo.main<uint16_t>(4);
  const size_t ndead = redo.main<uint16_t>(6);
  ByteReader data(redo.ref.data);
  HeapPrune prune{.moves_tuples = true, .cuts_unused = redo.context.pg_version >= 15, .changes_items = true};
  prune.redirects = data.raw(4 * nredirected);
  prune.dead = data.raw(2 * ndead);
  if (data.failed())
    return bad("{} redirects and {} dead items in {} bytes", nredirected, ndead, redo.ref.data.size());
  prune.unused = data.raw(data.remaining());
  return prune;
}

// xl_heap_vacuum up to 16: nunused u16. Block data: the offsets.
Result<HeapPrune> parse_vacuum(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  const size_t nunused = redo.main<uint16_t>(0);
  ByteReader data(redo.ref.data);
  HeapPrune prune{.changes_items = true};
  prune.unused = data.raw(2 * nunused);
  if (data.failed()) return bad("{} offsets in {} bytes", nunused, redo.ref.data.size());
  return prune;
}

// The tuples of all plans of 16 and later.
size_t count_frozen(const HeapPrune& prune) {
  size_t tuples = 0;
  for (uint32_t i = 0; i < prune.nplans; ++i) tuples += load<uint16_t>(prune.plans.data() + i * kFreezePlanSize + 10);
  return tuples;
}

// xl_heap_freeze_page up to 16: cutoff or conflict horizon u32, number of plans u16, 16 adds isCatalogRel. Block data:
// the plans; in 16 the tuples' offsets behind them.
Result<HeapPrune> parse_freeze_page(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(6));
  ByteReader data(redo.ref.data);
  HeapPrune prune{.nplans = redo.main<uint16_t>(4)};
  prune.plans = data.raw(prune.nplans * kFreezePlanSize);
  if (data.failed()) return bad("{} plans in {} bytes", prune.nplans, redo.ref.data.size());
  if (redo.context.pg_version >= 16) prune.offsets = data.raw(2 * count_frozen(prune));
  if (data.failed()) return bad("{} plans for {} tuples in {} bytes", prune.nplans, count_frozen(prune), redo.ref.data.size());
  return prune;
}

// Block data of 17 and later, each part only if its flag is set: plans (their number u16, padding u16), redirects, dead
// and unused items (their number u16 before each), offsets of the tuples to freeze.
Result<HeapPrune> parse_prune_and_freeze(const BlockRedo& redo) {
  HELIUM_TRY(redo.need_main(2));
  const auto flags = redo.main<uint8_t>(1);
  HELIUM_TRY(redo.need_main(flags & kHasConflictHorizon ? 6 : 2));
  ByteReader data(redo.ref.data);
  HeapPrune prune{.moves_tuples = (flags & kCleanupLock) != 0,
                  .changes_items = (flags & (kHasRedirects | kHasDead | kHasUnused)) != 0};
  if (flags & kHasFreezePlans) {
    prune.nplans = data.u16();
    data.u16();
    prune.plans = data.raw(prune.nplans * kFreezePlanSize);
  }
  if (flags & kHasRedirects) prune.redirects = data.raw(size_t{data.u16()} * 4);
  if (flags & kHasDead) prune.dead = data.raw(size_t{data.u16()} * 2);
  if (flags & kHasUnused) prune.unused = data.raw(size_t{data.u16()} * 2);
  if (!data.failed()) prune.offsets = data.raw(2 * count_frozen(prune));
  if (data.failed() || data.remaining() > 0)
    return bad("prune record with flags {:#04x} and {} plans in {} bytes", flags, prune.nplans, redo.ref.data.size());
  if (!prune.moves_tuples && (prune.redirects.size() > 0 || prune.dead.size() > 0))
    return bad("flags {:#04x}: redirects or dead items without a cleanup lock", flags);
  return prune;
}

}  // namespace

Result<HeapPrune> parse_heap_prune(const BlockRedo& redo) {
  if (redo.context.pg_version >= 17) return parse_prune_and_freeze(redo);
  switch (redo.record.info & kHeapOpMask) {
    case kHeap2Prune: return parse_prune(redo);
    case kHeap2Vacuum: return parse_vacuum(redo);
    default: return parse_freeze_page(redo);
  }
}

FreezePlan read_freeze_plan(const HeapPrune& prune, uint32_t index, int pg_version) {
  const std::byte* at = prune.plans.data() + index * kFreezePlanSize;
  FreezePlan plan{.xmax = load<uint32_t>(at)};
  if (pg_version <= 15) {
    plan.offset = load<uint16_t>(at + 4);
    plan.infomask2 = load<uint16_t>(at + 6);
    plan.infomask = load<uint16_t>(at + 8);
    plan.flags = load<uint8_t>(at + 10);
  } else {
    plan.infomask2 = load<uint16_t>(at + 4);
    plan.infomask = load<uint16_t>(at + 6);
    plan.flags = load<uint8_t>(at + 8);
    plan.ntuples = load<uint16_t>(at + 10);
  }
  return plan;
}

}  // namespace helium::redo
