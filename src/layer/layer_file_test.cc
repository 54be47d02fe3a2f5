#include "layer/layer_file.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "layer/key_filter.h"
#include "layer/layer_writer.h"
#include "layer/memory_disk.h"
#include "layer/test_support.h"

namespace helium::layer {
namespace {

struct Written {
  Position position;
  Content content;
};

Key page(uint32_t relnode, uint32_t blkno) { return Key::rel_block(test_rel(relnode), blkno); }

// About `count` versions of all kinds, some of whose values are shared.
std::vector<Written> some_versions(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::map<Position, Content> versions;
  while (versions.size() < count) {
    const Key key = random() % 10 == 0 ? Key::rel_size(test_rel(random() % 4)) : page(random() % 3, random() % 20);
    const Position position{key, Lsn(1000 + random() % 500)};
    const auto fill = [&](size_t size) {
      Bytes bytes(size);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 4);
      return bytes;
    };
    switch (random() % 6) {
      case 0: versions[position] = {ValueKind::kImage, true, fill(8192)}; break;
      case 1: versions[position] = {ValueKind::kZeroPage, true, {}}; break;
      case 2: versions[position] = {ValueKind::kTombstone, true, {}}; break;
      case 3: versions[position] = {ValueKind::kData, true, fill(random() % 20)}; break;
      default: versions[position] = {ValueKind::kRecord, random() % 5 == 0, fill(random() % 400)}; break;
    }
  }
  std::vector<Written> list;
  for (auto& [position, content] : versions) list.push_back({position, std::move(content)});
  for (size_t i = 20; i < list.size(); i += 7) {  // the value of an earlier key, near or far
    const Content& earlier = list[i - 1 - random() % 19].content;
    if (earlier.bytes.size() >= kSharedValueSizeMin) list[i].content = earlier;
  }
  return list;
}

struct Layer {
  LayerDesc desc;
  std::shared_ptr<MemoryDisk> disk;
  std::vector<Written> versions;

  std::shared_ptr<LayerFile> open(uint64_t cache_bytes = 0) const {
    return std::make_shared<LayerFile>(disk, std::make_shared<BlockCache>(cache_bytes), "memory", desc);
  }
};

Layer write_layer(std::vector<Written> versions) {
  const TemporaryFolder folder;
  const LayerRange range{
      LayerKind::kDelta, {versions.front().position.key, versions.back().position.key.next()}, {Lsn(1000), Lsn(1500)}};
  const auto path = folder.path() / layer_name(range);
  auto writer = *LayerWriter::create(real_disk(), path, range);
  std::map<Bytes, const void*> ids;
  for (const Written& v : versions) {
    const void* id = ids.try_emplace(v.content.bytes, &v).first->second;
    EXPECT_TRUE(is_ok(writer->add(v.position, v.content.kind, v.content.will_init, v.content.bytes, id)));
  }
  const LayerHeader header = *writer->finish();
  EXPECT_EQ(header.entry_count, versions.size());
  Bytes content = *real_disk()->read_all(path);
  EXPECT_EQ(header.file_size, content.size());
  return {{range, header.file_size}, std::make_shared<MemoryDisk>(std::move(content)), std::move(versions)};
}

Model model_of(const Layer& layer) {
  Model model(nullptr, Lsn());
  for (const Written& v : layer.versions) model.put(v.position.lsn, v.position.key, v.content);
  return model;
}

TEST(LayerFile, RoundTripByKeyAndByCursor) {
  const Layer layer = write_layer(some_versions(1, 4000));
  const Model model = model_of(layer);
  const auto file = layer.open(16 << 20);
  ASSERT_TRUE(is_ok(file->verify()));
  const LayerHeader header = *file->header();
  EXPECT_EQ(header.range, layer.desc.range);
  EXPECT_GT(header.block_count, 10u);
  uint64_t raw_size = 0;
  for (const Written& v : layer.versions) raw_size += v.content.bytes.size();
  EXPECT_LT(header.file_size, raw_size * 7 / 10);  // compressed, and shared values once

  std::vector<Key> keys = model.keys();
  keys.push_back(page(77, 0));
  for (const Key& key : keys) {
    for (const Lsn at : {Lsn(999), Lsn(1000), Lsn(1250), Lsn(1300), Lsn(2000)}) {
      std::vector<Version> found;
      ASSERT_TRUE(is_ok(file->collect({key, at, Lsn(), Until::kWillInit}, found)));
      EXPECT_TRUE(contents(found) == model.chain(key, at)) << to_string(key) << " at " << to_string(at);
      found.clear();
      ASSERT_TRUE(is_ok(file->collect({key, at, Lsn(1100), Until::kAll}, found)));
      EXPECT_TRUE(contents(found) == model.all(key, Lsn(1100), at));
    }
  }
  LayerCursor cursor(file);
  for (const size_t from : {size_t{0}, size_t{1}, size_t{777}, layer.versions.size() - 1}) {
    ASSERT_TRUE(is_ok(cursor.seek(layer.versions[from].position)));
    for (size_t i = from; i < layer.versions.size(); ++i) {
      ASSERT_TRUE(cursor.valid());
      EXPECT_TRUE(cursor.entry().position == layer.versions[i].position);
      EXPECT_TRUE(cursor.value()->to_bytes() == layer.versions[i].content.bytes);
      ASSERT_TRUE(is_ok(cursor.next()));
    }
    EXPECT_FALSE(cursor.valid());
  }
  ASSERT_TRUE(is_ok(cursor.seek({Key::max(), Lsn()})));
  EXPECT_FALSE(cursor.valid());
}

TEST(LayerFile, AnIndexOfSeveralLevelsFindsEverything) {
  std::vector<Written> versions;
  for (uint32_t i = 0; i < 300 * 1000; i += 300) {
    versions.push_back({{page(1, i), Lsn(1100)}, {ValueKind::kImage, true, Bytes(8192, static_cast<std::byte>(i))}});
    store(versions.back().content.bytes.data(), i);
  }
  const Layer layer = write_layer(std::move(versions));
  const auto file = layer.open(16 << 20);
  EXPECT_EQ(file->header()->index_levels, 2u);
  ASSERT_TRUE(is_ok(file->verify()));
  for (uint32_t i = 0; i < 300 * 1000; i += 100) {
    std::vector<Version> found;
    ASSERT_TRUE(is_ok(file->collect({page(1, i), Lsn(1200), Lsn(), Until::kWillInit}, found)));
    EXPECT_EQ(found.size(), i % 300 == 0 ? 1u : 0u) << i;
  }
}

TEST(LayerFile, AValueLargerThanABlockIsKept) {
  std::vector<Written> versions;
  for (uint32_t i = 0; i < 5; ++i) {
    versions.push_back({{page(1, i), Lsn(1100)}, {ValueKind::kRecord, true, Bytes(i * 1'000'000, static_cast<std::byte>(i))}});
  }
  const Layer layer = write_layer(std::move(versions));
  const auto file = layer.open();
  ASSERT_TRUE(is_ok(file->verify()));
  std::vector<Version> found;
  ASSERT_TRUE(is_ok(file->collect({page(1, 4), Lsn(1200), Lsn(), Until::kFirst}, found)));
  EXPECT_TRUE(found.at(0).bytes.to_bytes() == layer.versions[4].content.bytes);
}

// Goal: damage is an error where it is needed and never wrong data.
// Method: every truncation, and flipped bits (all of the header, of the rest every 16th or so), each seen by verify(); and
// all reads after a sample of them give the right answer or kCorrupt.
TEST(LayerFile, EveryTruncationAndEveryFlippedBitIsSeen) {
  const Layer layer = write_layer(some_versions(2, 40));
  const Model model = model_of(layer);
  const std::vector<Key> keys = model.keys();
  const Bytes good = layer.disk->content;
  std::mt19937_64 random(3);

  const auto expect_right_or_error = [&] {
    const auto file = layer.open();
    for (int i = 0; i < 5; ++i) {
      const Key& key = keys[random() % keys.size()];
      const Lsn at(1000 + random() % 500);
      const Result<bool> maybe = file->may_contain(key);
      if (maybe && !*maybe) {
        EXPECT_TRUE(model.all(key, Lsn(), Lsn::max()).empty()) << "the filter denies a key";
        continue;
      }
      std::vector<Version> found;
      if (file->collect({key, at, Lsn(), Until::kWillInit}, found)) {
        EXPECT_TRUE(contents(found) == model.chain(key, at));
      }
    }
  };

  for (size_t size = 0; size < good.size(); size += 1 + (size > 200 ? random() % 40 : 0)) {
    layer.disk->content.resize(size);
    const Status verified = layer.open()->verify();
    ASSERT_FALSE(verified) << size;
    EXPECT_EQ(verified.error().code, ErrorCode::kTruncated) << size << ": " << verified.error().message;
    if (random() % 8 == 0) expect_right_or_error();
    layer.disk->content = good;
  }
  for (size_t bit = 0; bit < good.size() * 8; bit += bit < kLayerHeaderSize * 8 ? 1 : 1 + random() % 31) {
    layer.disk->content[bit / 8] ^= std::byte(1u << bit % 8);
    const Status verified = layer.open()->verify();
    ASSERT_FALSE(verified) << "bit " << bit;
    EXPECT_TRUE(verified.error().code == ErrorCode::kCorrupt || verified.error().code == ErrorCode::kTruncated)
        << "bit " << bit << ": " << verified.error().message;
    if (random() % 8 == 0) expect_right_or_error();
    layer.disk->content[bit / 8] ^= std::byte(1u << bit % 8);
  }
}

TEST(LayerFile, ANewerFormatIsRefusedAsSuch) {
  LayerHeader header = *write_layer(some_versions(1, 30)).open()->header();
  auto bytes = encode_layer_header(header);
  ASSERT_EQ(*decode_layer_header(bytes), header);
  bytes[4] = std::byte{2};
  store(&bytes[124], crc32c(ByteView(bytes).first(124)));
  EXPECT_EQ(decode_layer_header(bytes).error().code, ErrorCode::kTooNew);
}

TEST(LayerFile, AFileOfAnotherLayerIsRefused) {
  Layer layer = write_layer(some_versions(1, 30));
  layer.desc.range.lsns = LsnRange(Lsn(1000), Lsn(1501));
  EXPECT_EQ(layer.open()->header().error().code, ErrorCode::kCorrupt);
}

// docs/formats/layer_file.md, "Worked example". LZ4 may pack differently in another version, so the block is unpacked.
TEST(LayerFile, TheWorkedExampleOfTheDocument) {
  const auto bytes_of_hex = [](std::string_view text) {
    Bytes bytes;
    for (size_t i = 0; i + 1 < text.size();) {
      if (text[i] == ' ') {
        ++i;
        continue;
      }
      bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
      i += 2;
    }
    return bytes;
  };
  const Key key = Key::rel_size({1663, 5, 16384, pg::Fork::kMain});
  const LayerRange range{LayerKind::kDelta, {key, key.next()}, LsnRange(Lsn(0x1001), Lsn(0x2001))};
  const LayerHeader header{range, 16580, 196, 1, 1, 8388, 1, 1, 2, 1};
  const auto encoded = encode_layer_header(header);
  EXPECT_EQ(Bytes(encoded.begin(), encoded.end()),
            bytes_of_hex("4c41 5952 0100 0200 1200 0006 7f00 0000 0500 0040 0000 0000 0000 1200 0006 7f00"
                         "0000 0500 0040 0000 0000 0001 0000 0000 0110 0000 0000 0000 0120 0000 0000 0000"
                         "c440 0000 0000 0000 c400 0000 0000 0000 0100 0000 0100 0000 c420 0000 0000 0000"
                         "0100 0000 0100 0000 0200 0000 0000 0000 0100 0000 0000 0000 0000 0000 165e 46fb"));
  const Bytes sealed = bytes_of_hex("3400 0000 5400 0000 0100 0000 a17a b0cb f202 0200 0000 1200 0006 7f00 0000 0500"
                                    "0040 0001 0012 1807 006f 0501 0400 0000 2400 0418 2024 00c0 0300 0000 0400 0000"
                                    "2800 0000");
  DataBlockBuilder builder;
  builder.add({key, Lsn(0x1800)}, ValueKind::kData, true, bytes_of_hex("0200 0000"));
  builder.add({key, Lsn(0x2000)}, ValueKind::kData, true, bytes_of_hex("0300 0000"));
  EXPECT_EQ(*unseal_block(sealed, 128), builder.finish());
  const LeafEntry leaf{{key, Lsn(0x1800)}, {128, 68}};
  const BuiltIndex index = build_index({&leaf, 1});
  const Bytes expected = bytes_of_hex("1b34 4924 0000 0000 0100 0000 0000 0000 1200 0006 7f00 0000 0500 0040 0000 0000"
                                      "0000 0018 0000 0000 0000 8000 0000 0000 0000 4400 0000");
  EXPECT_EQ(Bytes(index.pages.begin(), index.pages.begin() + static_cast<ptrdiff_t>(expected.size())), expected);
}

TEST(KeyFilter, PassesEveryKeyAndFewOthers) {
  std::vector<uint64_t> hashes;
  for (uint32_t i = 0; i < 50'000; ++i) hashes.push_back(page(i % 5, i).hash());
  const Bytes filter = build_filter(hashes);
  const auto pages = static_cast<uint32_t>(filter.size() / kFilterPageSize);
  EXPECT_LT(filter.size() * 8, hashes.size() * 11);
  const auto passes = [&](const Key& key) {
    const uint32_t page_no = filter_page_of(key.hash(), pages);
    const ByteView page = ByteView(filter).subspan(page_no * kFilterPageSize, kFilterPageSize);
    EXPECT_TRUE(is_ok(validate_filter_page(page, page_no)));
    return filter_may_contain(page, key.hash(), pages);
  };
  size_t wrong = 0;
  for (uint32_t i = 0; i < 50'000; ++i) {
    ASSERT_TRUE(passes(page(i % 5, i)));
    wrong += passes(page(i % 5 + 5, i));
  }
  EXPECT_LT(wrong, 50'000 * 0.03);
}

}  // namespace
}  // namespace helium::layer
