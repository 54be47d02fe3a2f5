#include <fmt/format.h>

#include <chrono>
#include <map>

#include "base/log.h"
#include "layer/layer_writer.h"
#include "layer/store_impl.h"

namespace helium::layer {
namespace {

constexpr std::chrono::milliseconds kRetryDelayMin{100};
constexpr std::chrono::milliseconds kRetryDelayMax{5000};

Status check_put(const Put& put) {
  const auto kind = static_cast<uint8_t>(put.kind);
  if (kind < static_cast<uint8_t>(ValueKind::kImage) || kind > static_cast<uint8_t>(ValueKind::kData)) {
    return fail(ErrorCode::kInvalid, fmt::format("put {}: unknown value kind {}", to_string(put.key), kind));
  }
  if (!put.will_init && put.kind != ValueKind::kRecord) {
    return fail(ErrorCode::kInvalid, fmt::format("put {}: a {} stands by itself", to_string(put.key), to_string(put.kind)));
  }
  if (put.bytes.size() > kValueSizeMax) return fail(ErrorCode::kInvalid, fmt::format("put {}: too large", to_string(put.key)));
  if (!(put.key < Key::max())) return fail(ErrorCode::kInvalid, "put: no such key");
  return {};
}

}  // namespace

Status StoreImpl::write(Lsn lsn, std::span<const Put> puts) {
  for (const Put& put : puts) HELIUM_TRY(check_put(put));
  const std::lock_guard lock(write_mutex_);
  if (lsn < last_write_lsn_ || lsn <= frozen_lsn_ || lsn == Lsn::max()) {
    return fail(ErrorCode::kInvalid, fmt::format("write at {}: the last write was at {}, frozen is up to {}",
                                                 to_string(lsn), to_string(last_write_lsn_), to_string(frozen_lsn_)));
  }
  last_write_lsn_ = lsn;
  snapshot()->open->put(lsn, puts);
  return {};
}

uint64_t StoreImpl::open_bytes() const {
  const std::shared_ptr<const StoreSnapshot> now = snapshot();
  return now->open->empty() ? 0 : now->open->memory();
}

bool StoreImpl::should_freeze() const {
  const uint64_t bytes = open_bytes();
  return bytes > 0 && bytes >= options_.freeze_bytes;
}

bool StoreImpl::freeze_would_wait() const {
  const std::lock_guard lock(mutex_);
  return queue_.size() >= options_.max_frozen_layers;
}

Status StoreImpl::freeze(Lsn last_record_lsn, Bytes metadata) {
  const std::lock_guard write_lock(write_mutex_);
  if (last_record_lsn < last_write_lsn_ || last_record_lsn < frozen_lsn_ || last_record_lsn == Lsn::max()) {
    return fail(ErrorCode::kInvalid, fmt::format("freeze at {}: the last write was at {}, frozen is up to {}",
                                                 to_string(last_record_lsn), to_string(last_write_lsn_),
                                                 to_string(frozen_lsn_)));
  }
  std::unique_lock lock(mutex_);
  const std::shared_ptr<MemLayer> open = snapshot()->open;
  if (open->empty() && last_record_lsn == frozen_lsn_ && metadata == metadata_queued_) return {};
  changed_.wait(lock, [this] { return queue_.size() < options_.max_frozen_layers || stopping_; });
  if (stopping_) return fail(ErrorCode::kCanceled, "freeze: stopped");

  FlushItem item;
  item.last_record_lsn = last_record_lsn;
  item.metadata = metadata;
  if (!open->empty()) {
    item.layer = open;
    item.lsns = LsnRange(frozen_lsn_ + 1, last_record_lsn + 1);
    const std::shared_ptr<const StoreSnapshot> now = snapshot();
    auto next = std::make_shared<StoreSnapshot>(*now);
    next->open = std::make_shared<MemLayer>();
    next->frozen.insert(next->frozen.begin(), open);
    set_snapshot(std::move(next));
  }
  queue_.push_back(std::move(item));
  ++enqueued_;
  metadata_queued_ = std::move(metadata);
  frozen_lsn_ = last_write_lsn_ = last_record_lsn;
  if (!thread_.joinable()) thread_ = std::thread([this] { flush_loop(); });
  changed_.notify_all();
  return {};
}

Status StoreImpl::flush_and_wait() {
  std::unique_lock lock(mutex_);
  const uint64_t target = enqueued_;
  const uint64_t failures_before = failures_;
  if (flushed_ >= target) return {};
  retry_now_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return flushed_ >= target || failures_ > failures_before || stopping_; });
  if (flushed_ >= target) return {};
  if (failures_ > failures_before) return fail(Error(*last_failure_));
  return fail(ErrorCode::kCanceled, "flush: stopped");
}

void StoreImpl::stop() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
    changed_.notify_all();
  }
  if (thread.joinable()) thread.join();
}

void StoreImpl::set_image_maker(ImageMaker maker) {
  const std::lock_guard lock(write_mutex_);
  image_maker_ = std::move(maker);
}

void StoreImpl::flush_loop() {
  auto retry_delay = kRetryDelayMin;
  bool failing = false;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    FlushItem& item = queue_.front();  // stays where it is: others only append
    retry_now_ = false;
    lock.unlock();
    Status done = flush(item);
    lock.lock();
    if (stopping_) return;
    if (done) {
      if (failing) log::info("flushing works again", {{"timeline", timeline_id_}, {"lsn", item.last_record_lsn}});
      failing = false;
      retry_delay = kRetryDelayMin;
      queue_.pop_front();
      ++flushed_;
      changed_.notify_all();
      continue;
    }
    ++failures_;
    last_failure_ = done.error();
    changed_.notify_all();
    if (!failing) {
      log::warn("flushing a layer failed, trying again; it stays in memory",
                {{"timeline", timeline_id_}, {"lsn", item.last_record_lsn}, {"error", done.error()}});
    }
    failing = true;
    changed_.wait_for(lock, retry_delay, [this] { return stopping_ || retry_now_; });
    retry_delay = std::min(retry_delay * 2, kRetryDelayMax);
  }
}

Status StoreImpl::flush(FlushItem& item) {
  if (item.layer && !item.written) {
    DeltaFlush delta;
    delta.disk = options_.disk;
    delta.folder = layers_dir_;
    delta.lsns = item.lsns;
    delta.image_chain_length = options_.image_chain_length;
    delta.image_maker = image_maker_;
    delta.canceled = &stopping_;
    HELIUM_ASSIGN(item.written, write_delta_layer(delta, *item.layer, chains_));
  }

  std::shared_ptr<LayerFile> file;
  if (item.written) file = open_layer(item.written->desc);
  HELIUM_TRY(replace_index(
      [&](TimelineIndex& index) {
        index.disk_consistent_lsn = item.last_record_lsn;
        index.metadata = item.metadata;
        if (file) index.layers.push_back(file->desc());
      },
      [&] {
        if (!file) return;
        const std::shared_ptr<const StoreSnapshot> now = snapshot();
        auto next = std::make_shared<StoreSnapshot>(*now);
        CHECK(!next->frozen.empty() && next->frozen.back() == item.layer);
        next->frozen.pop_back();
        next->files = now->files->with(file);
        set_snapshot(std::move(next));
      }));
  if (item.written) {
    delta_flushes_.fetch_add(1, std::memory_order_relaxed);
    hot_images_.fetch_add(item.written->hot_images, std::memory_order_relaxed);
    chains_.merge(item.written->chains);
  }
  return {};
}

Status StoreImpl::replace_index(const std::function<void(TimelineIndex&)>& change,
                                const std::function<void()>& publish) {
  const std::lock_guard index_lock(index_mutex_);
  TimelineIndex next = index_;
  change(next);
  ++next.sequence;
  HELIUM_TRY(options_.disk->replace_file(dir_ / "index", encode_timeline_index(next)));
  index_ = std::move(next);
  const std::lock_guard lock(mutex_);
  disk_consistent_lsn_ = index_.disk_consistent_lsn;
  metadata_ = index_.metadata;
  publish();
  return {};
}

Status StoreImpl::set_metadata(Bytes metadata) {
  return replace_index([&](TimelineIndex& index) { index.metadata = metadata; },
                       [&] {
                         if (queue_.empty()) metadata_queued_ = metadata;
                       });
}

// Images of an import, sorted in memory.
class StoreImport final : public ImageImport {
 public:
  explicit StoreImport(StoreImpl& store) : store_(store) {}

  Status add(const Key& key, ValueKind kind, ByteView bytes) override {
    HELIUM_TRY(check_put({key, kind, true, bytes}));
    if (kind == ValueKind::kRecord || kind == ValueKind::kTombstone) {
      return fail(ErrorCode::kInvalid, fmt::format("import {}: a {} is no image", to_string(key), to_string(kind)));
    }
    images_[key] = {kind, Bytes(bytes.begin(), bytes.end())};
    return {};
  }

  Status finish(Bytes metadata) override {
    const std::lock_guard lock(store_.write_mutex_);
    HELIUM_TRY(store_.check_importable());
    if (images_.empty()) return store_.set_metadata(std::move(metadata));
    const LayerRange range{LayerKind::kImage, KeyRange::all(), LsnRange(store_.start_lsn_, store_.start_lsn_ + 1)};
    if (!written_) {
      HELIUM_ASSIGN(const auto writer,
                    LayerWriter::create(store_.options_.disk, store_.layers_dir_ / layer_name(range), range));
      for (const auto& [key, image] : images_) {
        HELIUM_TRY(writer->add({key, store_.start_lsn_}, image.kind, true, image.bytes));
      }
      HELIUM_ASSIGN(const LayerHeader header, writer->finish());
      HELIUM_TRY(store_.options_.disk->sync_folder(store_.layers_dir_));
      written_ = LayerDesc{range, header.file_size};
    }
    return store_.finish_import(*written_, std::move(metadata));
  }

 private:
  struct Image {
    ValueKind kind;
    Bytes bytes;
  };
  StoreImpl& store_;
  std::map<Key, Image> images_;
  std::optional<LayerDesc> written_;  // complete: another attempt only publishes it
};

Status StoreImpl::check_importable() const {
  const std::shared_ptr<const StoreSnapshot> now = snapshot();
  if (ancestor_ || !now->open->empty() || !now->frozen.empty() || !now->files->layers().empty() ||
      disk_consistent_lsn() != start_lsn_) {
    return fail(ErrorCode::kInvalid, "import: only into a new timeline without ancestor and without writes");
  }
  return {};
}

Result<std::unique_ptr<ImageImport>> StoreImpl::begin_import() {
  HELIUM_TRY(check_importable());
  return std::unique_ptr<ImageImport>(std::make_unique<StoreImport>(*this));
}

Status StoreImpl::finish_import(const LayerDesc& desc, Bytes metadata) {
  const std::shared_ptr<LayerFile> file = open_layer(desc);
  return replace_index(
      [&](TimelineIndex& index) {
        index.metadata = metadata;
        index.layers.push_back(desc);
      },
      [&] {
        metadata_queued_ = metadata;
        auto next = std::make_shared<StoreSnapshot>(*snapshot());
        next->files = next->files->with(file);
        set_snapshot(std::move(next));
      });
}

}  // namespace helium::layer
