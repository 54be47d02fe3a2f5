#include "layer/store.h"

#include <fmt/format.h>

#include <cstdlib>
#include <unordered_map>

#include "base/log.h"
#include "layer/block_cache.h"
#include "layer/store_impl.h"

namespace helium::layer {
namespace fs = std::filesystem;
namespace {

fs::path index_path(const fs::path& dir) { return dir / "index"; }

StoreOptions completed(StoreOptions options) {
  if (!options.cache) options.cache = BlockCache::process_wide();
  if (!options.disk) options.disk = real_disk();
  if (options.max_frozen_layers == 0) options.max_frozen_layers = 1;
  return options;
}

Result<TimelineIndex> read_index(Disk& disk, const fs::path& dir) {
  HELIUM_ASSIGN(const Bytes bytes, disk.read_all(index_path(dir)));
  Result<TimelineIndex> index = decode_timeline_index(bytes);
  if (!index) return fail(std::move(index).error().context(fmt::format("read '{}'", index_path(dir).string())));
  return index;
}

// Removes what a crash left behind, and says what is missing: reads that need a missing layer will fail.
Status reconcile_folder(Disk& disk, const fs::path& layers_dir, const TimelineIndex& index) {
  HELIUM_TRY(disk.make_folder(layers_dir));
  HELIUM_ASSIGN(const std::vector<Disk::Entry> entries, disk.list_folder(layers_dir));
  std::unordered_map<std::string, uint64_t> listed;
  for (const LayerDesc& layer : index.layers) listed[layer_name(layer.range)] = layer.file_size;
  for (const Disk::Entry& entry : entries) {
    const auto found = listed.find(entry.name);
    if (found == listed.end()) {
      log::info("removing a layer file that the index does not name", {{"path", (layers_dir / entry.name).string()}});
      HELIUM_TRY(disk.remove_file(layers_dir / entry.name));
      continue;
    }
    if (found->second != entry.size) {
      log::error("layer file has a wrong size, reads that need it will fail",
                 {{"path", (layers_dir / entry.name).string()}, {"size", entry.size}, {"expected", found->second}});
    }
    listed.erase(found);
  }
  for (const auto& [name, size] : listed) {
    log::error("layer file is missing, reads that need it will fail", {{"path", (layers_dir / name).string()}});
  }
  return {};
}

}  // namespace

StoreOptions StoreOptions::defaults() {
  StoreOptions options;
  if (const char* text = std::getenv("HELIUM_LAYER_FREEZE_BYTES")) {
    if (const uint64_t bytes = std::strtoull(text, nullptr, 10); bytes > 0) options.freeze_bytes = bytes;
  }
  return options;
}

Result<std::shared_ptr<TimelineStore>> TimelineStore::create(const fs::path& dir, CreateOptions create) {
  const StoreOptions options = completed(std::move(create.store));
  if (!create.start_lsn.is_valid()) return fail(ErrorCode::kInvalid, "create timeline: start_lsn is 0");
  TimelineIndex index;
  index.timeline_id = create.timeline_id;
  index.start_lsn = index.disk_consistent_lsn = create.start_lsn;
  index.metadata = std::move(create.metadata);
  if (create.ancestor) {
    if (create.ancestor_lsn != create.start_lsn) {
      return fail(ErrorCode::kInvalid, "create timeline: start_lsn of a branch is its ancestor_lsn");
    }
    index.ancestor = TimelineIndex::Ancestor{create.ancestor->timeline_id(), create.ancestor_lsn};
  }

  std::error_code error;
  if (fs::exists(index_path(dir), error)) {
    return fail(ErrorCode::kExists, fmt::format("create timeline in '{}': there is one already", dir.string()));
  }
  // The index comes last: without it the folder is no timeline.
  HELIUM_TRY(options.disk->make_folder(dir));
  HELIUM_TRY(options.disk->make_folder(dir / "layers"));
  HELIUM_TRY(options.disk->sync_folder(dir.parent_path()));
  HELIUM_TRY(reconcile_folder(*options.disk, dir / "layers", index));
  HELIUM_TRY(options.disk->replace_file(index_path(dir), encode_timeline_index(index)));
  return std::make_shared<StoreImpl>(dir, options, std::move(index),
                                     std::static_pointer_cast<StoreImpl>(std::move(create.ancestor)));
}

Result<std::shared_ptr<TimelineStore>> TimelineStore::open(const fs::path& dir, const AncestorResolver& resolve,
                                                           StoreOptions open_options) {
  const StoreOptions options = completed(std::move(open_options));
  HELIUM_ASSIGN(TimelineIndex index, read_index(*options.disk, dir));
  std::shared_ptr<TimelineStore> ancestor;
  if (index.ancestor) {
    HELIUM_ASSIGN(ancestor, resolve(index.ancestor->id));
    CHECK(ancestor != nullptr);
    if (ancestor->timeline_id() != index.ancestor->id) {
      return fail(ErrorCode::kInvalid, fmt::format("open timeline '{}': resolved to another ancestor", dir.string()));
    }
  }
  HELIUM_TRY(reconcile_folder(*options.disk, dir / "layers", index));
  return std::make_shared<StoreImpl>(dir, options, std::move(index),
                                     std::static_pointer_cast<StoreImpl>(std::move(ancestor)));
}

Result<StoreSummary> read_store_summary(const fs::path& dir) {
  HELIUM_ASSIGN(TimelineIndex index, read_index(*real_disk(), dir));
  StoreSummary summary{index.timeline_id, index.start_lsn, index.disk_consistent_lsn, {}, {}, std::move(index.metadata)};
  if (index.ancestor) {
    summary.ancestor_id = index.ancestor->id;
    summary.ancestor_lsn = index.ancestor->lsn;
  }
  return summary;
}

StoreImpl::StoreImpl(fs::path dir, StoreOptions options, TimelineIndex index, std::shared_ptr<StoreImpl> ancestor)
    : dir_(std::move(dir)),
      layers_dir_(dir_ / "layers"),
      options_(std::move(options)),
      timeline_id_(index.timeline_id),
      start_lsn_(index.start_lsn),
      ancestor_(std::move(ancestor)),
      last_write_lsn_(index.disk_consistent_lsn),
      frozen_lsn_(index.disk_consistent_lsn),
      index_(std::move(index)),
      metadata_queued_(index_.metadata),
      disk_consistent_lsn_(index_.disk_consistent_lsn),
      metadata_(index_.metadata) {
  LayerMap::Layers layers;
  for (const LayerDesc& desc : index_.layers) layers.push_back(open_layer(desc));
  snapshot_ = std::make_shared<const StoreSnapshot>(
      StoreSnapshot{std::make_shared<MemLayer>(), {}, std::make_shared<const LayerMap>(std::move(layers))});
}

StoreImpl::~StoreImpl() { stop(); }

std::shared_ptr<LayerFile> StoreImpl::open_layer(const LayerDesc& desc) const {
  return std::make_shared<LayerFile>(options_.disk, options_.cache, layers_dir_, desc);
}

std::shared_ptr<const StoreSnapshot> StoreImpl::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

void StoreImpl::set_snapshot(std::shared_ptr<const StoreSnapshot> snapshot) {
  const std::lock_guard lock(snapshot_mutex_);
  snapshot_.swap(snapshot);
}

Lsn StoreImpl::disk_consistent_lsn() const {
  const std::lock_guard lock(mutex_);
  return disk_consistent_lsn_;
}

Bytes StoreImpl::metadata() const {
  const std::lock_guard lock(mutex_);
  return metadata_;
}

StoreStats StoreImpl::stats() const {
  StoreStats stats;
  const std::shared_ptr<const StoreSnapshot> now = snapshot();
  stats.open_bytes = now->open->memory();
  stats.frozen_layers = now->frozen.size();
  for (const auto& layer : now->frozen) stats.frozen_bytes += layer->memory();
  for (const auto& layer : now->files->layers()) {
    ++(layer->range().kind == LayerKind::kImage ? stats.image_layers : stats.delta_layers);
    stats.layer_file_bytes += layer->desc().file_size;
  }
  stats.flushes = delta_flushes_.load(std::memory_order_relaxed);
  stats.hot_images = hot_images_.load(std::memory_order_relaxed);
  stats.layers_visited = layers_visited_.load(std::memory_order_relaxed);
  stats.filter_skips = filter_skips_.load(std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  stats.flush_errors = failures_;
  return stats;
}

}  // namespace helium::layer
