// Goal: only what a compute wrote for a file of the short list is taken for one. Method: a message of version 1 that lies
// in tests/compat; round trips; every flipped bit and shorter length; names next to the right ones.

#include "pg/auxiliary_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>

#include "pg/testing.h"

namespace helium::pg {
namespace {

constexpr const char* kGolden = "auxiliary_message_v1.bin";
const AuxiliaryKey kKey = auxiliary_key(Bytes(32, std::byte{0xAB}), Bytes(16, std::byte{1}));

Bytes payload_of(const AuxiliaryMessage& message, const AuxiliaryKey& key = kKey) {
  const Bytes main = encode_auxiliary_message(message, key);
  const ByteView payload = ByteView(main).subspan(kLogicalMessageHead + kAuxiliaryPrefix.size() + 1);
  EXPECT_EQ(load<uint64_t>(main.data() + 16), payload.size());
  return Bytes(payload.begin(), payload.end());
}

TEST(AuxiliaryFile, TheShortListOfNames) {
  const std::pair<const char*, AuxiliaryKind> names[] = {
      {"pg_replslot/s/state", AuxiliaryKind::kSlot},
      {"pg_replslot/a_slot_9/state", AuxiliaryKind::kSlot},
      {"pg_replslot/s.tmp/state", AuxiliaryKind::kNone},
      {"pg_replslot/s/state.tmp", AuxiliaryKind::kNone},
      {"pg_replslot/S/state", AuxiliaryKind::kNone},
      {"pg_replslot//state", AuxiliaryKind::kNone},
      {"pg_replslot/../state", AuxiliaryKind::kNone},
      {"pg_replslot/s", AuxiliaryKind::kNone},
      {"/pg_replslot/s/state", AuxiliaryKind::kNone},
      {"pg_logical/snapshots/0-16B5A50.snap", AuxiliaryKind::kSnapshot},
      {"pg_logical/snapshots/FFFFFFFF-16B5A50.snap", AuxiliaryKind::kSnapshot},
      {"pg_logical/snapshots/FFFFFFFFF-16B5A50.snap", AuxiliaryKind::kNone},
      {"pg_logical/snapshots/0-16b5a50.snap", AuxiliaryKind::kNone},
      {"pg_logical/snapshots/0-16B5A50.snap.77.tmp", AuxiliaryKind::kNone},
      {"pg_logical/mappings/map-5-4eb-0_16B5A50-2f1-2f2", AuxiliaryKind::kMapping},
      {"pg_logical/mappings/map-5-4eb-0_16B5A50-2f1-2f2x", AuxiliaryKind::kNone},
      {"pg_logical/mappings/map-5-4eb-0_16B5A50-2f1", AuxiliaryKind::kNone},
      {"pg_logical/replorigin_checkpoint", AuxiliaryKind::kNone},
      {"pg_stat/pgstat.stat", AuxiliaryKind::kStatistics},
      {"pg_stat/db_5.stat", AuxiliaryKind::kStatistics},
      {"pg_stat/pgstat.tmp", AuxiliaryKind::kNone},
      {"global/pg_control", AuxiliaryKind::kNone},
      {"", AuxiliaryKind::kNone},
  };
  for (const auto& [name, kind] : names) EXPECT_EQ(auxiliary_kind(name), kind) << name;
  EXPECT_EQ(auxiliary_kind("pg_replslot/" + std::string(63, 'a') + "/state"), AuxiliaryKind::kSlot);
  EXPECT_EQ(auxiliary_kind("pg_replslot/" + std::string(64, 'a') + "/state"), AuxiliaryKind::kNone);
}

TEST(AuxiliaryFile, SurvivesTheTrip) {
  const Bytes content(100, std::byte{5});
  for (const AuxiliaryMessage& sent : {AuxiliaryMessage{"pg_replslot/s/state", false, content},
                                       AuxiliaryMessage{"pg_replslot/s/state", true, {}},
                                       AuxiliaryMessage{"pg_stat/pgstat.stat", false, {}}}) {
    const Bytes payload = payload_of(sent);
    AuxiliaryMessage got;
    ASSERT_EQ(decode_auxiliary_message(payload, kKey, got), AuxiliaryVerdict::kGood);
    EXPECT_EQ(got.path, sent.path);
    EXPECT_EQ(got.removed, sent.removed);
    EXPECT_TRUE(std::ranges::equal(got.content, sent.content));
  }
}

TEST(AuxiliaryFile, SurvivesNoForgery) {
  const Bytes payload = payload_of({"pg_replslot/s/state", false, Bytes(20, std::byte{5})});
  AuxiliaryMessage got;
  for (size_t size = 0; size < payload.size(); ++size)
    EXPECT_NE(decode_auxiliary_message(ByteView(payload).first(size), kKey, got), AuxiliaryVerdict::kGood) << size;
  for (size_t bit = 0; bit < payload.size() * 8; ++bit) {
    Bytes forged = payload;
    forged[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_NE(decode_auxiliary_message(forged, kKey, got), AuxiliaryVerdict::kGood) << bit;
  }
  Bytes longer = payload;
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_auxiliary_message(longer, kKey, got), AuxiliaryVerdict::kMalformed);
}

TEST(AuxiliaryFile, AnotherTimelinesKeyIsAnotherKey) {
  const Bytes payload = payload_of({"pg_replslot/s/state", true, {}});
  AuxiliaryMessage got;
  for (const AuxiliaryKey& other : {auxiliary_key(Bytes(32, std::byte{0xAB}), Bytes(16, std::byte{2})),
                                    auxiliary_key(Bytes(32, std::byte{0xAC}), Bytes(16, std::byte{1}))})
    EXPECT_EQ(decode_auxiliary_message(payload, other, got), AuxiliaryVerdict::kForged);
}

TEST(AuxiliaryFile, ItsNameAndSizeAreCheckedBehindItsCode) {
  AuxiliaryMessage got;
  EXPECT_EQ(decode_auxiliary_message(payload_of({"global/pg_control", false, Bytes(9)}), kKey, got),
            AuxiliaryVerdict::kUnknownName);
  const std::string slot = "pg_replslot/s/state";
  EXPECT_EQ(decode_auxiliary_message(payload_of({slot, false, Bytes(4096)}), kKey, got), AuxiliaryVerdict::kGood);
  EXPECT_EQ(decode_auxiliary_message(payload_of({slot, false, Bytes(4097)}), kKey, got), AuxiliaryVerdict::kTooLarge);
}

// HELIUM_WRITE_GOLDEN=DIR writes it.
TEST(AuxiliaryFile, TheGoldenMessageIsReadAndWritten) {
  const Bytes content(5, std::byte{'x'});
  const AuxiliaryMessage message{"pg_replslot/golden/state", false, content};
  const Bytes main = encode_auxiliary_message(message, kKey);
  if (const char* folder = getenv("HELIUM_WRITE_GOLDEN")) {
    std::ofstream file(std::string(folder) + "/" + kGolden, std::ios::binary);
    file.write(reinterpret_cast<const char*>(main.data()), static_cast<std::streamsize>(main.size()));
  }
  EXPECT_EQ(testing::read_fixture(kGolden), main);
}

}  // namespace
}  // namespace helium::pg
