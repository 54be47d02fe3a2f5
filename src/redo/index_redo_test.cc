// Records of index types that the recorded WAL does not have: the rare roles of blocks, and damage by name.

#include "redo/gin_posting.h"
#include "redo/index_tuple.h"
#include "redo/test_records.h"

namespace helium::redo {
namespace {

using pg::Rmgr;
using testing::empty_page;
using testing::pack;
using testing::TestRecord;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
template <typename T>
T at(const PageBytes& page, size_t offset) {
  return load<T>(page.data() + offset);
}
template <typename T>
void put(PageBytes& page, size_t offset, T value) {
  store(page.data() + offset, value);
}
std::string refusal(const TestRecord& record, uint8_t id, PageBytes page) {
  const Status status = record.redo(id, page);
  return status ? "replayed" : status.error().message;
}

// ---- hash

PageBytes hash_page(uint16_t flags) {
  PageBytes page = empty_page(16);
  put<uint16_t>(page, 8192 - 4, flags);
  put<uint16_t>(page, 8192 - 2, 0xFF80);
  return page;
}

TEST(HashRedo, ANewOverflowPageMayNeedANewBitmap) {
  TestRecord add(Rmgr::kHash, 0x30, pack<uint16_t, uint8_t>(4096, 0));
  add.block(0, 70, pack<uint32_t>(5), /*will_init=*/true).block(1, 60).block(3, 71, {}, /*will_init=*/true);
  add.block(4, 0, pack<uint32_t>(32768));
  PageBytes bitmap{};
  ASSERT_TRUE(add.redo(3, bitmap));
  EXPECT_EQ(pg::page_lower(bitmap), 24 + 4096);
  EXPECT_EQ(at<uint64_t>(bitmap, 24 + 4096 - 8), UINT64_MAX);
  EXPECT_EQ(at<uint16_t>(bitmap, 8192 - 4), 0x0004);

  PageBytes meta = hash_page(0x0008);
  put<uint32_t>(meta, 24 + 36, 3);                    // splitpoint
  put<uint32_t>(meta, 24 + 44, 1);                    // bitmaps
  put<uint32_t>(meta, 24 + 52 + 4 * 3, 10);           // spares there
  ASSERT_TRUE(add.redo(4, meta));
  EXPECT_EQ(at<uint32_t>(meta, 24 + 40), 32768u);
  EXPECT_EQ(at<uint32_t>(meta, 24 + 44), 2u);
  EXPECT_EQ(at<uint32_t>(meta, 24 + 444 + 4), 71u);
  EXPECT_EQ(at<uint32_t>(meta, 24 + 52 + 4 * 3), 12u) << "the overflow page and the bitmap";
}

TEST(HashRedo, AMetapagesCountersAreNotFollowedOutOfIt) {
  TestRecord add(Rmgr::kHash, 0x30, pack<uint16_t, uint8_t>(4096, 0));
  add.block(0, 70, pack<uint32_t>(5), true).block(1, 60).block(3, 71, {}, true).block(4, 0, pack<uint32_t>(1));
  PageBytes meta = hash_page(0x0008);
  put<uint32_t>(meta, 24 + 36, 98);
  EXPECT_NE(refusal(add, 4, meta).find("splitpoint 98"), std::string::npos);
  put<uint32_t>(meta, 24 + 36, 0);
  put<uint32_t>(meta, 24 + 44, 1024);
  EXPECT_NE(refusal(add, 4, meta).find("1024 bitmaps"), std::string::npos);
  EXPECT_NE(refusal(add, 4, hash_page(0x0002)).find("not a metapage"), std::string::npos);
  TestRecord bit(Rmgr::kHash, 0x80, pack<uint32_t, uint32_t, uint16_t, uint8_t, uint8_t>(1, 2, 0, 1, 1));
  bit.block(5, 9, pack<uint32_t>(8152 * 8));
  EXPECT_NE(refusal(bit, 5, hash_page(0x0004)).find("bit 65216"), std::string::npos);
  TestRecord init(Rmgr::kHash, 0x00, pack<double, uint32_t, uint16_t>(1e300, 400, 0));
  init.block(0, 0, {}, true);
  EXPECT_NE(refusal(init, 0, {}).find("fill factor of 0"), std::string::npos);
}

TEST(HashRedo, InitialBucketsFollowTheSplitpoints) {
  // tuples, fill factor → buckets, splitpoint
  const std::array<std::tuple<double, uint16_t, uint32_t, uint32_t>, 6> cases{{
      {0, 10, 2, 1}, {-5, 10, 2, 1}, {50, 10, 8, 3}, {5130, 10, 640, 10}, {1e5, 10, 10240, 26}, {1e300, 1, 0x40000000, 93}}};
  for (const auto& [tuples, factor, buckets, splitpoint] : cases) {
    TestRecord init(Rmgr::kHash, 0x00, pack<double, uint32_t, uint16_t>(tuples, 400, factor));
    init.block(0, 0, {}, /*will_init=*/true);
    PageBytes page{};
    ASSERT_TRUE(init.redo(0, page));
    EXPECT_EQ(at<uint32_t>(page, 24 + 24) + 1, buckets) << tuples;
    EXPECT_EQ(at<uint32_t>(page, 24 + 36), splitpoint) << tuples;
  }
}

TEST(HashRedo, ASqueezeLinksThePageBehindTheFreedOneAndOnlyLocksThePrimaryPage) {
  TestRecord squeeze(Rmgr::kHash, 0x80, pack<uint32_t, uint32_t, uint16_t, uint8_t, uint8_t>(11, 13, 0, 0, 0));
  squeeze.block(0, 1).block(1, 10).block(2, 12).block(3, 11).block(4, 13);
  PageBytes page = hash_page(0x0001);
  const PageBytes before = page;
  ASSERT_TRUE(squeeze.redo(0, page));
  EXPECT_EQ(page, before);
  ASSERT_TRUE(squeeze.redo(4, page));
  EXPECT_EQ(at<uint32_t>(page, 8192 - 16), 11u);
  page = before;
  ASSERT_TRUE(squeeze.redo(3, page));
  EXPECT_EQ(at<uint32_t>(page, 8192 - 12), 13u);
}

// ---- GIN

PageBytes gin_page(uint16_t flags, uint16_t maxoff = 0) {
  PageBytes page = empty_page(8);
  put<uint16_t>(page, 8192 - 4, maxoff);
  put<uint16_t>(page, 8192 - 2, flags);
  return page;
}
Bytes tid(uint32_t blkno, uint16_t offset) {
  return pack<uint16_t, uint16_t, uint16_t>(static_cast<uint16_t>(blkno >> 16), static_cast<uint16_t>(blkno), offset);
}

TEST(GinRedo, PostingListsGoThereAndBackAndRefuseWhatDoesNotAscend) {
  const Bytes plain = tid(1, 1) + tid(1, 2) + tid(70000, 291) + tid(0xFFFFFFFE, 2047);
  const auto tids = decode_gin_tids(plain);
  ASSERT_TRUE(tids);
  const auto list = encode_gin_list(*tids);
  ASSERT_TRUE(list);
  EXPECT_EQ(list->size() % 2, 0u);
  EXPECT_EQ(*decode_gin_list(*gin_list_at(*list)), *tids);
  EXPECT_EQ(merge_gin_tids(*tids, *decode_gin_tids(tid(1, 2) + tid(5, 5))).size(), 5u);
  for (size_t size = 0; size < list->size(); ++size) EXPECT_FALSE(gin_list_at(ByteView(*list).first(size))) << size;
  EXPECT_FALSE(decode_gin_tids(tid(1, 2) + tid(1, 2)));
  EXPECT_FALSE(decode_gin_tids(tid(1, 0)));
  EXPECT_FALSE(decode_gin_tids(tid(1, 2048)));
  const Bytes stuck = tid(1, 1) + pack<uint16_t, uint8_t, uint8_t>(1, 0, 0);              // a difference of 0
  EXPECT_FALSE(decode_gin_list(stuck));
  const Bytes endless = tid(1, 1) + pack<uint16_t, uint64_t>(8, UINT64_MAX);              // every byte says "more"
  EXPECT_FALSE(decode_gin_list(endless));
  const Bytes cut = tid(1, 1) + pack<uint16_t, uint8_t, uint8_t>(1, 0x80, 0);
  EXPECT_FALSE(decode_gin_list(cut));
}

TEST(GinRedo, ALeafFromBefore94IsCompressedFirst) {
  PageBytes page = gin_page(0x0003, 3);
  const Bytes tids = tid(1, 1) + tid(1, 5) + tid(9, 9);
  std::ranges::copy(tids, page.begin() + 32);
  // One action: add items to list 0.
  TestRecord insert(Rmgr::kGin, 0x20, pack<uint16_t>(0x03));
  insert.block(0, 4, pack<uint16_t, uint8_t, uint8_t, uint16_t>(1, 0, 4, 1) + tid(2, 2));
  ASSERT_TRUE(insert.redo(0, page));
  EXPECT_EQ(at<uint16_t>(page, 8192 - 2), 0x0083);
  EXPECT_EQ(at<uint16_t>(page, 8192 - 4), 0);
  const auto list = gin_list_at(ByteView(page).subspan(32, pg::page_lower(page) - 32));
  ASSERT_TRUE(list);
  EXPECT_EQ(*decode_gin_list(*list), *decode_gin_tids(tid(1, 1) + tid(1, 5) + tid(2, 2) + tid(9, 9)));
}

TEST(GinRedo, ActionsOnListsThatAreNotThereAreRefused) {
  TestRecord insert(Rmgr::kGin, 0x20, pack<uint16_t>(0x03));
  insert.block(0, 4, pack<uint16_t, uint8_t, uint8_t>(1, 2, 1));
  PageBytes page = gin_page(0x0083);
  pg::set_page_lower(page, 32);
  EXPECT_NE(refusal(insert, 0, page).find("GIN/INSERT at 1663/5/16385 blk 4"), std::string::npos);
  insert.block_data[0] = pack<uint16_t, uint8_t, uint8_t>(60000, 0, 2);
  insert.record.blocks[0].data = insert.block_data[0];
  EXPECT_NE(refusal(insert, 0, page).find("a posting list of 0 bytes"), std::string::npos);
}

TEST(GinRedo, ASplitClearsItsChildsFlagAndNeedsImagesForTheRest) {
  TestRecord split(Rmgr::kGin, 0x30, {});
  split.block(0, 3).block(3, 9);
  PageBytes child = gin_page(0x0043);
  ASSERT_TRUE(split.redo(3, child));
  EXPECT_EQ(at<uint16_t>(child, 8192 - 2), 0x0003);
  EXPECT_NE(refusal(split, 0, gin_page(0x0043)).find("a split without image"), std::string::npos);
}

TEST(GinRedo, PostingItemsStayInsideOfTheirPage) {
  TestRecord remove(Rmgr::kGin, 0x50, pack<uint16_t, uint16_t, uint32_t, uint32_t>(3, 0, 77, 900));
  remove.block(0, 5).block(1, 6).block(2, 7);
  EXPECT_NE(refusal(remove, 1, gin_page(0x0001, 2)).find("posting item 3 of 2"), std::string::npos);
  EXPECT_NE(refusal(remove, 1, gin_page(0x0001, 60000)).find("posting item 3 of 60000"), std::string::npos);
  PageBytes page = gin_page(0x0003);
  ASSERT_TRUE(remove.redo(0, page));
  EXPECT_EQ(pg::page_prune_xid(page), 900u);
  EXPECT_EQ(at<uint16_t>(page, 8192 - 2), 0x0007);
  page = gin_page(0x0003);
  ASSERT_TRUE(remove.redo(2, page));
  EXPECT_EQ(at<uint32_t>(page, 8192 - 8), 77u);
}

// ---- GiST

TEST(GistRedo, ASplitThatCompletesAnOlderOneTouchesTheLeftChild) {
  TestRecord split(Rmgr::kGist, 0x30, pack<uint32_t, uint32_t, uint64_t, uint8_t, uint8_t, uint16_t, uint32_t>(9, 0, 5, 0, 0, 2, 1));
  split.block(0, 4).block(1, 6, pack<uint32_t>(0), true).block(2, 7, pack<uint32_t>(0), true);
  PageBytes child = empty_page(16);
  put<uint16_t>(child, 8192 - 4, 0x0009);
  ASSERT_TRUE(split.redo(0, child, Lsn(0x300000011)));
  EXPECT_EQ(at<uint32_t>(child, 8192 - 16), 3u);
  EXPECT_EQ(at<uint32_t>(child, 8192 - 12), 0x11u);
  EXPECT_EQ(at<uint16_t>(child, 8192 - 4), 0x0001);
  PageBytes left{};
  ASSERT_TRUE(split.redo(1, left));
  EXPECT_EQ(at<uint32_t>(left, 8192 - 8), 7u);
  EXPECT_EQ(at<uint16_t>(left, 8192 - 4), 0x0008) << "follows right";
  PageBytes right{};
  ASSERT_TRUE(split.redo(2, right));
  EXPECT_EQ(at<uint32_t>(right, 8192 - 8), 9u);
  EXPECT_EQ(at<uint16_t>(right, 8192 - 4), 0x0000);
}

// ---- SP-GiST

constexpr uint32_t kNodes = 2;
// An inner tuple without prefix and with two nodes of 8 bytes.
Bytes inner_tuple(uint32_t first_child) {
  Bytes tuple = pack<uint32_t, uint16_t, uint16_t>(kNodes << 3, 24, 0);
  for (uint32_t i = 0; i < kNodes; ++i) tuple = tuple + tid(first_child + i, 1) + pack<uint16_t>(8);
  return tuple;
}
PageBytes spgist_page(std::initializer_list<Bytes> tuples) {
  PageBytes page = empty_page(8);
  put<uint16_t>(page, 8192 - 2, 0xFF82);
  uint16_t number = 1;
  for (const Bytes& tuple : tuples) EXPECT_TRUE(add_item(page, tuple, number++, AddMode::kIndex));
  return page;
}
ByteView item(const PageBytes& page, uint16_t number) { return pg::page_item(ByteView(page), pg::page_item_id(page, number)); }

TEST(SpgistRedo, ANodeThatMovesTheTupleLeavesARedirectAndMovesTheParentsLink) {
  for (const int8_t parent_at : {0, 1, 2}) {
    TestRecord add(Rmgr::kSpgist, 0x30,
                   pack<uint16_t, uint16_t, uint8_t, int8_t, uint16_t, uint16_t, uint16_t, uint32_t, uint32_t>(
                       1, 2, 0, parent_at, parent_at == 0 ? 2 : 1, 1, 0, 777, 0) + inner_tuple(50));
    add.block(0, 30).block(1, 31).block(2, 32);
    PageBytes old_page = spgist_page({inner_tuple(40), inner_tuple(44)});
    PageBytes new_page = spgist_page({inner_tuple(60)});
    PageBytes parent = spgist_page({inner_tuple(70)});
    ASSERT_TRUE(add.redo(0, old_page));
    EXPECT_EQ(load<uint32_t>(item(old_page, 1).data()), 1u | 16u << 2) << "a redirect";
    EXPECT_EQ(tid_blkno(item(old_page, 1).data() + 6), 31u);
    EXPECT_EQ(load<uint32_t>(item(old_page, 1).data() + 12), 777u);
    EXPECT_EQ(at<uint16_t>(old_page, 8192 - 6), 1) << "redirects";
    ASSERT_TRUE(add.redo(1, new_page));
    EXPECT_EQ(pg::page_item_count(new_page), 2);
    ASSERT_TRUE(add.redo(2, parent));
    const auto link = [](const PageBytes& page, uint16_t number) { return tid_blkno(item(page, number).data() + 16); };
    EXPECT_EQ(link(old_page, 2), parent_at == 0 ? 31u : 45u);
    EXPECT_EQ(link(new_page, 1), parent_at == 1 ? 31u : 61u);
    EXPECT_EQ(link(parent, 1), parent_at == 2 ? 31u : 71u);
  }
}

TEST(SpgistRedo, ASplitTuplesPostfixMayGoToANewPage) {
  TestRecord split(Rmgr::kSpgist, 0x40, pack<uint16_t, uint16_t, uint8_t, uint8_t>(1, 1, 1, 0) + inner_tuple(5) + inner_tuple(8));
  split.block(0, 30).block(1, 31, {}, /*will_init=*/true);
  PageBytes page{};
  ASSERT_TRUE(split.redo(1, page));
  EXPECT_EQ(tid_blkno(item(page, 1).data() + 8), 8u);
  page = spgist_page({inner_tuple(1)});
  ASSERT_TRUE(split.redo(0, page));
  EXPECT_EQ(tid_blkno(item(page, 1).data() + 8), 5u);
}

TEST(SpgistRedo, ANodeOrATupleThatIsNotThereIsRefused) {
  const auto add_leaf = [](uint16_t parent, uint16_t node) {
    auto record = std::make_unique<TestRecord>(
        Rmgr::kSpgist, 0x10, pack<uint8_t, uint8_t, uint16_t, uint16_t, uint16_t, uint16_t>(0, 0, 1, 0, parent, node) +
                                 pack<uint32_t, uint16_t>(16 << 2, 0) + tid(1, 1) + pack<uint32_t>(0));
    record->block(0, 30).block(1, 31);
    return record;
  };
  const PageBytes parent = spgist_page({inner_tuple(1)});
  EXPECT_EQ(refusal(*add_leaf(1, 1), 1, parent), "replayed");
  EXPECT_NE(refusal(*add_leaf(1, 2), 1, parent).find("node 2 of 2"), std::string::npos);
  EXPECT_NE(refusal(*add_leaf(2, 0), 1, parent).find("offset 2 beyond line pointers 1"), std::string::npos);
  EXPECT_NE(refusal(*add_leaf(1, 0), 0, parent).find("item 1 is no placeholder"), std::string::npos);
  Bytes liar = inner_tuple(1);
  store<uint32_t>(liar.data(), 3u << 3);  // three nodes, room for two
  EXPECT_NE(refusal(*add_leaf(1, 2), 1, spgist_page({liar})).find("index tuple of 0 bytes"), std::string::npos);
  store<uint32_t>(liar.data(), 3u << 3 | 0xFFF8u << 16);  // a prefix longer than the tuple
  EXPECT_NE(refusal(*add_leaf(1, 0), 1, spgist_page({liar})).find("outside of its tuple"), std::string::npos);
}

// ---- BRIN and generic

TEST(BrinRedo, RangesOfNoPagesAndSummariesThatAreNotThereAreRefused) {
  TestRecord insert(Rmgr::kBrin, 0x10, pack<uint32_t, uint32_t, uint16_t>(128, 0, 1));
  insert.block(0, 2, Bytes(16)).block(1, 1);
  PageBytes revmap = empty_page(8);
  put<uint16_t>(revmap, 8192 - 2, 0xF092);
  EXPECT_NE(refusal(insert, 1, revmap).find("ranges of 0 pages"), std::string::npos);
  EXPECT_NE(refusal(insert, 0, revmap).find("page type"), std::string::npos);
  TestRecord desummarize(Rmgr::kBrin, 0x50, pack<uint32_t, uint32_t, uint16_t>(1, 1360 * 7 + 2, 3));
  desummarize.block(0, 1).block(1, 2);
  ASSERT_TRUE(desummarize.redo(0, revmap));
  EXPECT_EQ(at<uint32_t>(revmap, 24 + 2 * 6), UINT32_MAX) << "a map page has 1360 entries";
  PageBytes regular = empty_page(8);
  put<uint16_t>(regular, 8192 - 2, 0xF093);
  EXPECT_NE(refusal(desummarize, 1, regular).find("offset 3 beyond line pointers 0"), std::string::npos);
}

TEST(GenericRedo, EachBlockHasChangesOfItsOwnAndTheHoleIsEmptied) {
  TestRecord generic(Rmgr::kGeneric, 0x00, {});
  generic.block(0, 2, pack<uint16_t, uint16_t, uint32_t>(8000, 4, 0x11)).block(1, 3, pack<uint16_t, uint16_t, uint16_t>(8002, 2, 7));
  PageBytes page = empty_page(8);
  pg::set_page_upper(page, 4096);
  put<uint32_t>(page, 100, 9);
  ASSERT_TRUE(generic.redo(1, page));
  EXPECT_EQ(at<uint16_t>(page, 8002), 7);
  EXPECT_EQ(at<uint32_t>(page, 100), 0u);
  TestRecord outside(Rmgr::kGeneric, 0x00, {});
  outside.block(0, 2, pack<uint16_t, uint16_t, uint16_t>(8191, 2, 7)).block(1, 3, pack<uint16_t, uint16_t, uint8_t>(8, 2, 7));
  EXPECT_NE(refusal(outside, 0, empty_page(8)).find("a change of 2 bytes at 8191"), std::string::npos);
  EXPECT_NE(refusal(outside, 1, empty_page(8)).find("cut off"), std::string::npos);
}

}  // namespace
}  // namespace helium::redo
