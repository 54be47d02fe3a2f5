// StoreImpl: the one implementation of TimelineStore. It owns and routes: the open and frozen in-memory layers, the
// map of layer files, the timeline's index, and the flush thread.
//
//   store.cc        create, open, facts        store_write.cc  write, freeze, flush thread, publishing, import
//   store_read.cc   reads of one key           store_scan.cc   scans
//
// Locks, in the order in which they may be taken: write_mutex_, index_mutex_, mutex_, snapshot_mutex_. Disk writes
// happen under index_mutex_ at most; readers take snapshot_mutex_ for the copy of one pointer.

#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "layer/delta_flush.h"
#include "layer/layer_map.h"
#include "layer/mem_layer.h"
#include "layer/store.h"
#include "layer/timeline_index.h"

namespace helium::layer {

// What a read works on: immutable but for the open layer, which only grows.
struct StoreSnapshot {
  std::shared_ptr<MemLayer> open;
  std::vector<std::shared_ptr<MemLayer>> frozen;  // newest first
  std::shared_ptr<const LayerMap> files;
};

class StoreImpl final : public TimelineStore {
 public:
  StoreImpl(std::filesystem::path dir, StoreOptions options, TimelineIndex index, std::shared_ptr<StoreImpl> ancestor);
  ~StoreImpl() override;

  Status write(Lsn lsn, std::span<const Put> puts) override;
  bool should_freeze() const override;
  uint64_t open_bytes() const override;
  Status freeze(Lsn last_record_lsn, Bytes metadata) override;
  bool freeze_would_wait() const override;
  Status flush_and_wait() override;
  Lsn disk_consistent_lsn() const override;
  Bytes metadata() const override;
  Status set_metadata(Bytes metadata) override;
  Result<std::unique_ptr<ImageImport>> begin_import() override;
  void set_image_maker(ImageMaker maker) override;
  void stop() override;

  Result<std::vector<Version>> get_versions(const Key& key, Lsn at) const override;
  Result<std::optional<Version>> get_latest(const Key& key, Lsn at) const override;
  Result<std::vector<Version>> list_versions(const Key& key, Lsn after, Lsn at) const override;
  Status scan_latest(const KeyRange& range, Lsn at,
                     const std::function<bool(const Key&, const Version&)>& visit) const override;

  const TimelineId& timeline_id() const override { return timeline_id_; }
  Lsn start_lsn() const override { return start_lsn_; }
  std::shared_ptr<TimelineStore> ancestor() const override { return ancestor_; }
  Lsn ancestor_lsn() const override { return ancestor_ ? start_lsn_ : Lsn(); }
  StoreStats stats() const override;

 private:
  friend class StoreImport;

  // One freeze(), on its way to the disk.
  struct FlushItem {
    std::shared_ptr<MemLayer> layer;  // empty: only the index changes
    LsnRange lsns{Lsn(0), Lsn(1)};
    Lsn last_record_lsn;
    Bytes metadata;
    std::optional<FlushedDelta> written;  // the file is complete: an attempt after it must not touch it
  };

  std::shared_ptr<const StoreSnapshot> snapshot() const;
  void set_snapshot(std::shared_ptr<const StoreSnapshot> snapshot);

  void flush_loop();
  Status flush(FlushItem& item);
  // Writes the index that `change` makes of the present one; afterwards it is the present one, and `publish` has run
  // with mutex_ held.
  Status replace_index(const std::function<void(TimelineIndex&)>& change, const std::function<void()>& publish);
  std::shared_ptr<LayerFile> open_layer(const LayerDesc& desc) const;
  Status finish_import(const LayerDesc& desc, Bytes metadata);
  Status check_importable() const;

  // True: the query has its answer; what ancestors have does not matter.
  Result<bool> collect(const VersionQuery& query, std::vector<Version>& found) const;
  Result<bool> collect_from_files(const VersionQuery& query, const LayerMap& files, std::vector<Version>& found) const;
  Result<std::vector<Version>> read(VersionQuery query) const;

  const std::filesystem::path dir_;
  const std::filesystem::path layers_dir_;
  const StoreOptions options_;
  const TimelineId timeline_id_;
  const Lsn start_lsn_;
  const std::shared_ptr<StoreImpl> ancestor_;
  ImageMaker image_maker_;  // set before the first freeze

  std::mutex write_mutex_;
  Lsn last_write_lsn_;  // guarded by write_mutex_, as is frozen_lsn_
  Lsn frozen_lsn_;      // everything up to here has been frozen

  std::mutex index_mutex_;
  TimelineIndex index_;   // what is on disk; guarded by index_mutex_
  ChainLengths chains_;   // flush thread only

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<FlushItem> queue_;   // guarded by mutex_, as all below; the flush thread works on the front
  uint64_t enqueued_ = 0;
  uint64_t flushed_ = 0;
  uint64_t failures_ = 0;
  std::optional<Error> last_failure_;
  bool retry_now_ = false;
  Bytes metadata_queued_;         // what metadata_ will be once the queue is empty
  Lsn disk_consistent_lsn_;
  Bytes metadata_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};  // written under mutex_

  mutable std::mutex snapshot_mutex_;
  std::shared_ptr<const StoreSnapshot> snapshot_;  // guarded by snapshot_mutex_

  std::atomic<uint64_t> delta_flushes_{0};
  std::atomic<uint64_t> hot_images_{0};
  mutable std::atomic<uint64_t> layers_visited_{0};
  mutable std::atomic<uint64_t> filter_skips_{0};
};

}  // namespace helium::layer
