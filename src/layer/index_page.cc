#include "layer/index_page.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/partition.h"

namespace helium::layer {
namespace {

std::unexpected<Error> corrupt(std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("index page: {}", what));
}

void put_position(std::byte* to, const Position& position) {
  std::memcpy(to, position.key.view().data(), kKeySize);
  store(to + kKeySize, position.lsn.bytes());
}

Position get_position(const std::byte* from) {
  return {Key::from_bytes({from, kKeySize}), Lsn(load<uint64_t>(from + kKeySize))};
}

void finish_page(std::byte* page, uint32_t page_no, size_t count, uint8_t level) {
  store(page + 4, page_no);
  store(page + 8, static_cast<uint16_t>(count));
  page[10] = std::byte{level};
  store(page, crc32c({page + 4, kIndexPageSize - 4}));
}

struct Child {
  Position first;
  uint32_t page_no;
};

}  // namespace

BuiltIndex build_index(std::span<const LeafEntry> leaves) {
  CHECK(!leaves.empty());
  BuiltIndex built;
  std::vector<Child> level_pages;
  const auto new_page = [&] {
    built.pages.resize(built.pages.size() + kIndexPageSize);
    ++built.page_count;
    return built.pages.data() + built.pages.size() - kIndexPageSize;
  };

  for (size_t done = 0; done < leaves.size();) {
    const size_t count = std::min(kLeafEntriesMax, leaves.size() - done);
    std::byte* page = new_page();
    for (size_t i = 0; i < count; ++i) {
      std::byte* entry = page + kIndexPageHeaderSize + i * kLeafEntrySize;
      put_position(entry, leaves[done + i].first);
      store(entry + kPositionSize, leaves[done + i].block.offset);
      store(entry + kPositionSize + 8, leaves[done + i].block.size);
    }
    finish_page(page, built.page_count - 1, count, 0);
    level_pages.push_back({leaves[done].first, built.page_count - 1});
    done += count;
  }

  uint8_t level = 0;
  while (level_pages.size() > 1) {
    ++level;
    std::vector<Child> parents;
    for (size_t done = 0; done < level_pages.size();) {
      const size_t count = std::min(kInnerEntriesMax, level_pages.size() - done);
      std::byte* page = new_page();
      for (size_t i = 0; i < count; ++i) {
        std::byte* entry = page + kIndexPageHeaderSize + i * kInnerEntrySize;
        put_position(entry, level_pages[done + i].first);
        store(entry + kPositionSize, level_pages[done + i].page_no);
      }
      finish_page(page, built.page_count - 1, count, level);
      parents.push_back({level_pages[done].first, built.page_count - 1});
      done += count;
    }
    level_pages = std::move(parents);
  }
  built.levels = level + 1u;
  return built;
}

Status IndexPage::validate(ByteView page, uint32_t page_no) {
  if (page.size() != kIndexPageSize) return corrupt("wrong size");
  if (load<uint32_t>(&page[0]) != crc32c(page.subspan(4))) return corrupt("checksum mismatch");
  if (load<uint32_t>(&page[4]) != page_no) return corrupt("another page's number");
  const IndexPage view(page);
  const uint8_t level = view.level();
  const size_t count = view.count();
  if (count == 0 || count > (level == 0 ? kLeafEntriesMax : kInnerEntriesMax)) return corrupt("impossible count");
  for (size_t i = 0; i < count; ++i) {
    if (i > 0 && !(view.position(i - 1) < view.position(i))) return corrupt("entries are not sorted");
    if (level > 0 && view.child_page(i) >= page_no) return corrupt("a child behind its parent");
    if (level == 0 && (view.block(i).offset < kLayerHeaderSize || view.block(i).size <= kBlockHeaderSize)) {
      return corrupt("an impossible block");
    }
  }
  return {};
}

Position IndexPage::position(size_t i) const { return get_position(entry(i)); }

BlockRef IndexPage::block(size_t i) const {
  const std::byte* from = entry(i) + kPositionSize;
  return {load<uint64_t>(from), load<uint32_t>(from + 8)};
}

uint32_t IndexPage::child_page(size_t i) const { return load<uint32_t>(entry(i) + kPositionSize); }

size_t IndexPage::count_up_to(const Position& wanted) const {
  return count_while(count(), [&](size_t i) { return position(i) <= wanted; });
}

}  // namespace helium::layer
