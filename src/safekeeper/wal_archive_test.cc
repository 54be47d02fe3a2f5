#include "safekeeper/wal_archive.h"

#include <gtest/gtest.h>

#include "safekeeper/test_support.h"
#include "store/memory_store.h"

namespace helium::safekeeper {
namespace {

using test::kStart;
using test::WalMaker;

constexpr uint64_t kSegment = pg::kWalSegmentSize;

class Archive : public ::testing::Test {
 protected:
  Bytes segment(uint8_t filler) const { return Bytes(kSegment, static_cast<std::byte>(filler)); }
  std::string key(std::string_view name) const {
    return fmt::format("wal/{}/{}/{}", to_string(id_.tenant), to_string(id_.timeline), name);
  }
  const TenantTimelineId id_{random_id<TenantId>(), random_id<TimelineId>()};
  const std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
  WalArchive archive_{store_, id_};
};

TEST_F(Archive, SegmentsAreReadBackAcrossTheirBorders) {
  ASSERT_TRUE(archive_.put_segment(2, segment('b')));
  ASSERT_TRUE(archive_.put_segment(3, segment('c')));
  Bytes bytes(20);
  ASSERT_TRUE(archive_.read(Lsn(3 * kSegment - 10), bytes));
  EXPECT_EQ(as_text(bytes), "bbbbbbbbbbcccccccccc");
  EXPECT_EQ(archive_.read(Lsn(4 * kSegment - 10), bytes).error().code, ErrorCode::kLsnTooOld);
  EXPECT_EQ(*store_->size(key("000000010000000000000003")), kSegment);
}

// Two safekeepers upload: harmless. One whose WAL is another one: refused, and what is there stays.
TEST_F(Archive, TheSameSegmentAgainIsFineAnotherOneIsRefused) {
  ASSERT_TRUE(archive_.put_segment(2, segment('b')));
  EXPECT_TRUE(archive_.put_segment(2, segment('b')));
  Bytes other = segment('b');
  other[12345] = std::byte{'x'};
  const Status refused = archive_.put_segment(2, other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(refused.error().message.find("12345"), std::string::npos) << refused.error().message;
  EXPECT_EQ(*store_->get(key("000000010000000000000002")), segment('b'));
}

TEST_F(Archive, KnowsHowFarItReachesWithoutAGap) {
  const auto end = [&](uint64_t from) { return *archive_.end_of_segments(Lsn(from * kSegment)); };
  EXPECT_EQ(end(2), Lsn(2 * kSegment));
  for (const uint64_t segno : {2, 3, 5, 255, 256, 257}) ASSERT_TRUE(archive_.put_segment(segno, segment('x')));
  EXPECT_EQ(end(2), Lsn(4 * kSegment));
  EXPECT_EQ(end(255), Lsn(258 * kSegment));
  ASSERT_TRUE(store_->put(key("000000010000000000000004"), as_bytes("short"), PutMode::kReplace));
  EXPECT_EQ(end(2), Lsn(4 * kSegment)) << "half a segment is none";
  EXPECT_FALSE(*archive_.has_segment(4));
  EXPECT_TRUE(*archive_.has_segment(5));
  EXPECT_FALSE(*archive_.has_segment(6));
}

TEST(PartialNames, RoundTripAndEveryDamagedName) {
  const PartialName name{.segno = 3, .log_term = 12, .flush_lsn = Lsn(0x3A1B2C8), .commit_lsn = Lsn(0x3A1B200),
                         .crc = 0x5F3A0C11, .safekeeper_id = 2};
  const std::string text = to_string(name);
  EXPECT_EQ(text, "000000010000000000000003_12_0000000003A1B2C8_0000000003A1B200_5F3A0C11_sk2.partial");
  EXPECT_EQ(*parse_partial_name(text), name);
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(parse_partial_name(text.substr(0, size)));
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = '!';
    EXPECT_FALSE(parse_partial_name(damaged)) << damaged;
  }
  EXPECT_FALSE(parse_partial_name("000000010000000000000004" + text.substr(24))) << "flush_lsn lies in another segment";
}

TEST_F(Archive, APartialSegmentComesBackAsItWas) {
  const Bytes content(1000, std::byte{'p'});
  const auto name = archive_.put_partial({.segno = 2, .log_term = 7, .flush_lsn = Lsn(2 * kSegment + 1000),
                                          .commit_lsn = Lsn(2 * kSegment + 800), .safekeeper_id = 3}, content);
  ASSERT_TRUE(name) << name.error().message;
  EXPECT_EQ(*archive_.get_partial(*name), content);
  // Damage is found.
  Bytes damaged = content;
  damaged[5] = std::byte{'q'};
  ASSERT_TRUE(store_->put(key(*name), damaged, PutMode::kReplace));
  EXPECT_EQ(archive_.get_partial(*name).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(store_->put(key(*name), ByteView(content).first(999), PutMode::kReplace));
  EXPECT_EQ(archive_.get_partial(*name).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(store_->remove(key(*name)));
  EXPECT_EQ(archive_.get_partial(*name).error().code, ErrorCode::kNotFound);
}

TEST_F(Archive, OldPartialsOfThisSafekeeperAreRemovedAndNothingElse) {
  ASSERT_TRUE(archive_.put_segment(1, segment('a')));
  const auto put = [&](uint64_t safekeeper, uint64_t size) {
    return *archive_.put_partial({.segno = 2, .log_term = 1, .flush_lsn = Lsn(2 * kSegment + size),
                                  .commit_lsn = Lsn(2 * kSegment), .safekeeper_id = safekeeper},
                                 Bytes(size, std::byte{'x'}));
  };
  const std::string old = put(3, 8), kept = put(3, 16), others = put(4, 8);
  ASSERT_TRUE(archive_.remove_partials(3, kept));
  EXPECT_EQ(archive_.get_partial(old).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(archive_.get_partial(kept));
  EXPECT_TRUE(archive_.get_partial(others));
  ASSERT_TRUE(archive_.remove_partials(3, ""));
  EXPECT_EQ(store_->list("")->size(), 2u);
}

// Goal: a damaged segment does not reach the store, wherever the damage is, in a record that crosses the border too.
// Method: two segments of real WAL; flip bytes at many places; check in order.
TEST(SegmentChecks, DamageIsFoundAnywhere) {
  WalMaker maker(kStart);
  const uint64_t first = pg::wal_segment_number(kStart);
  const std::vector<Bytes> made = pg::build_sparse_segments(kStart, {}, test::kSystemId, test::kPgVersion);
  Bytes wal = made.at(0);
  const Bytes records = maker.records(2 * kSegment, 50'000);
  const uint64_t offset = pg::wal_segment_offset(kStart);
  wal.resize(3 * kSegment);
  std::ranges::copy(ByteView(records).first(2 * kSegment - offset), wal.begin() + static_cast<ptrdiff_t>(offset));
  const auto check = [&]() -> Status {
    SegmentCheck checker(kStart);
    HELIUM_TRY(checker.check(first, ByteView(wal).first(kSegment)));
    return checker.check(first + 1, ByteView(wal).subspan(kSegment, kSegment));
  };
  const Status good = check();
  ASSERT_TRUE(good) << good.error().message;
  {
    SegmentCheck alone(kStart);
    EXPECT_TRUE(alone.check(first + 1, ByteView(wal).subspan(kSegment, kSegment))) << "begins in the midst of a record";
  }
  for (const uint64_t at : {offset + 30, uint64_t{1'000'000}, kSegment - 5, kSegment + 45, kSegment + 5'000'000, 2 * kSegment - 40'000}) {
    wal[at] ^= std::byte{0x10};
    EXPECT_EQ(check().error().code, ErrorCode::kCorrupt) << at;
    wal[at] ^= std::byte{0x10};
  }
}

}  // namespace
}  // namespace helium::safekeeper
