#include <algorithm>

#include "layer/store_impl.h"

namespace helium::layer {
namespace {

// Layers whose LSN ranges overlap (an image layer inside a delta's range) give versions out of order and twice.
// Of two versions at one LSN the one that stands by itself is kept: it has the same content.
void sort_newest_first(std::vector<Version>& versions, size_t from) {
  const auto begin = versions.begin() + static_cast<ptrdiff_t>(from);
  const auto newer = [](const Version& x, const Version& y) {
    return x.lsn != y.lsn ? x.lsn > y.lsn : x.will_init && !y.will_init;
  };
  if (std::is_sorted(begin, versions.end(), [](const Version& x, const Version& y) { return x.lsn >= y.lsn; }) &&
      std::adjacent_find(begin, versions.end(), [](const Version& x, const Version& y) { return x.lsn == y.lsn; }) ==
          versions.end()) {
    return;
  }
  std::stable_sort(begin, versions.end(), newer);
  versions.erase(std::unique(begin, versions.end(), [](const Version& x, const Version& y) { return x.lsn == y.lsn; }),
                 versions.end());
}

}  // namespace

Result<bool> StoreImpl::collect_from_files(const VersionQuery& query, const LayerMap& files,
                                           std::vector<Version>& found) const {
  const size_t found_before = found.size();
  // No version at or below this LSN is wanted any more: the query ends above, or an image layer says that there is
  // none.
  Lsn floor;
  bool ended = false;
  LayerMap::Search search(files, {query.key, query.key.next()}, query.at);
  while (const std::shared_ptr<const LayerFile>* layer = search.next()) {
    const LayerRange& range = (*layer)->range();
    if (ended && range.lsns.end() <= floor + 1) break;
    if (query.until == Until::kAll && range.lsns.end() <= query.after + 1) break;
    HELIUM_ASSIGN(const bool maybe, (*layer)->may_contain(query.key));
    if (maybe) {
      layers_visited_.fetch_add(1, std::memory_order_relaxed);
      HELIUM_ASSIGN(const bool has_end, (*layer)->collect(query, found));
      if (has_end && (!ended || floor < found.back().lsn)) {
        floor = found.back().lsn;
        ended = true;
      }
    } else {
      filter_skips_.fetch_add(1, std::memory_order_relaxed);
    }
    if (range.kind == LayerKind::kImage && query.until != Until::kAll && (!ended || floor < range.lsns.start())) {
      floor = range.lsns.start();
      ended = true;
    }
  }
  sort_newest_first(found, found_before);
  if (ended) {
    while (found.size() > found_before && found.back().lsn < floor) found.pop_back();
  }
  return ended;
}

Result<bool> StoreImpl::collect(const VersionQuery& query, std::vector<Version>& found) const {
  const std::shared_ptr<const StoreSnapshot> now = snapshot();
  if (now->open->collect(query, found)) return true;
  for (const auto& layer : now->frozen) {
    if (layer->collect(query, found)) return true;
  }
  return collect_from_files(query, *now->files, found);
}

Result<std::vector<Version>> StoreImpl::read(VersionQuery query) const {
  std::vector<Version> found;
  for (const StoreImpl* store = this; store != nullptr; store = store->ancestor_.get()) {
    HELIUM_ASSIGN(const bool ended, store->collect(query, found));
    if (ended) break;
    if (store->ancestor_) query.at = std::min(query.at, store->start_lsn_);
  }
  return found;
}

Result<std::vector<Version>> StoreImpl::get_versions(const Key& key, Lsn at) const {
  return read({key, at, Lsn(), Until::kWillInit});
}

Result<std::optional<Version>> StoreImpl::get_latest(const Key& key, Lsn at) const {
  HELIUM_ASSIGN(std::vector<Version> found, read({key, at, Lsn(), Until::kFirst}));
  if (found.empty()) return std::optional<Version>();
  return std::optional<Version>(std::move(found.front()));
}

Result<std::vector<Version>> StoreImpl::list_versions(const Key& key, Lsn after, Lsn at) const {
  return read({key, at, after, Until::kAll});
}

}  // namespace helium::layer
