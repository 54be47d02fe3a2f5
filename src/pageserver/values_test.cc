// Goal: what ingest stores, readers get back; damaged values are refused.
// Method: round trips and every truncation.

#include "pageserver/values.h"

#include <gtest/gtest.h>

namespace helium::pageserver {
namespace {

template <typename T, typename Decode>
void expect_round_trip(const T& value, Decode decode) {
  const Bytes bytes = encode(value);
  auto decoded = decode(bytes);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(*decoded, value);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(ByteView(bytes).first(size)).has_value());
}

TEST(Values, RelationSizesSurviveTheTrip) {
  expect_round_trip(RelSizeValue{7, false, std::nullopt}, decode_rel_size);
  expect_round_trip(RelSizeValue{7, true, RelSizeValue::CopiedFrom{1663, 1, Lsn(0x1000), 5}}, decode_rel_size);
}

TEST(Values, WalPositionsSurviveTheTrip) {
  expect_round_trip(WalPosition{Lsn(0x16B5A50), 733, 1, 0, -5}, decode_wal_position);
}

TEST(Values, ReplicationOriginsSurviveTheTrip) {
  expect_round_trip(ReplOriginValue{Lsn(0x16B5A50), Lsn(0x2000028)}, decode_repl_origin);
  EXPECT_EQ(*decode_aux_file(encode(AuxFileValue{Lsn(0x16B5A50), "pg_replslot/s/state", Bytes(9, std::byte{7})})),
            (AuxFileValue{Lsn(0x16B5A50), "pg_replslot/s/state", Bytes(9, std::byte{7})}));
}

TEST(Values, FoldersOfDatabasesSayWhatTheyAre) {
  EXPECT_TRUE(is_whole_database(encode(DbDirValue::kWholeDatabase)));
  EXPECT_FALSE(is_whole_database(encode(DbDirValue::kRelationsOnly)));
}

TEST(Values, MetadataSurvivesTheTrip) {
  TimelineMetadata metadata;
  metadata.pg_version = 15;
  metadata.system_identifier = 0x1122334455667788;
  expect_round_trip(metadata, decode_timeline_metadata);
  IngestState state;
  state.last_record_start = Lsn(0x100);
  state.last_record_lsn = Lsn(0x180);
  state.checkpoint.next_full_xid = 800;
  state.history = {{1, Lsn(0x80)}, {2, Lsn(0x100)}};
  metadata.state = state;
  expect_round_trip(metadata, decode_timeline_metadata);
}

TEST(Values, MetadataOfALaterVersionIsNamed) {
  TimelineMetadata metadata;
  metadata.pg_version = 15;
  Bytes bytes = encode(metadata);
  bytes[0] = std::byte{9};
  EXPECT_EQ(decode_timeline_metadata(bytes).error().code, ErrorCode::kTooNew);
}

}  // namespace
}  // namespace helium::pageserver
