// TimelineStore: every version of every key of one timeline, by (key, LSN), on local disk and in memory.
//
// A write goes to the open in-memory layer. freeze() makes that layer immutable; a background thread writes it as a
// delta layer file and publishes the timeline's index file, which names exactly the layers that count. After a crash
// the store stands at disk_consistent_lsn(), and WAL behind that is written again by the caller.
// Reads merge the open layer, frozen layers, delta and image layers, and then the ancestors, each asked at
// min(at, ancestor_lsn), recursively.
//
// Folder: <dir>/index (docs/formats/timeline_index.md), <dir>/layers/NAME (docs/formats/layer_file.md).
// Threads: all functions are safe from any thread; write() and freeze() are meant for one writer (they exclude each
// other). Readers never wait for the writer or for disk writes. A reader sees each put whole; a batch becomes visible
// put by put, so read at LSNs whose write() has returned.
// Ownership: shared_ptr; a child holds its ancestor. The destructor stops the background thread; what was not flushed
// is gone (it is in the WAL). A read holds references to the layers it uses.
// Memory: open layer (about freeze_bytes) + at most max_frozen_layers frozen ones + the shared block cache.
// Errors: kCorrupt/kTruncated name file and offset and concern only the read that needed those bytes; kTooNew: written
// by a later version; kNoSpace, kIo: the disk; kInvalid: the call breaks a precondition named below; kCanceled: stop().

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/result.h"
#include "layer/key.h"
#include "layer/value.h"

namespace helium {
class Disk;  // io/disk.h
}

namespace helium::layer {

class BlockCache;  // layer/block_cache.h
class TimelineStore;

struct StoreOptions {
  uint64_t freeze_bytes = 64 << 20;   // should_freeze() from this size on; HELIUM_LAYER_FREEZE_BYTES overrides the default
  size_t max_frozen_layers = 4;       // freeze() waits while so many are not on disk yet
  uint32_t image_chain_length = 64;   // see set_image_maker
  std::shared_ptr<BlockCache> cache;  // empty: BlockCache::process_wide()
  std::shared_ptr<Disk> disk;         // empty: the real one

  static StoreOptions defaults();  // with the environment applied
};

struct CreateOptions {
  TimelineId timeline_id;                   // stored; what a child's index names as its ancestor
  Lsn start_lsn;                            // everything written later lies above it; for a branch: ancestor_lsn
  std::shared_ptr<TimelineStore> ancestor;  // empty for a root
  Lsn ancestor_lsn;                         // inclusive: reads of the child see the ancestor up to here
  Bytes metadata;                           // the caller's own, given back by metadata()
  StoreOptions store = StoreOptions::defaults();
};

struct StoreStats {
  uint64_t open_bytes = 0;       // memory of the open layer
  uint64_t frozen_bytes = 0;     // memory of frozen layers
  size_t frozen_layers = 0;
  size_t delta_layers = 0;
  size_t image_layers = 0;
  uint64_t layer_file_bytes = 0;
  uint64_t flushes = 0;          // delta layers written
  uint64_t flush_errors = 0;     // attempts that failed and are retried
  uint64_t hot_images = 0;       // images made while flushing
  uint64_t layers_visited = 0;   // layer files that reads looked into, past key range and filter
  uint64_t filter_skips = 0;     // layer files that the filter spared
};

// Writes the images of an import as one image layer at start_lsn. Keys in any order; a key added twice keeps the last.
// Memory: everything that was added, until finish(). Not thread safe. Dropping it unfinished leaves the store as it was.
class ImageImport {
 public:
  virtual ~ImageImport() = default;
  // kinds kImage, kZeroPage and kData. Copies the bytes.
  virtual Status add(const Key& key, ValueKind kind, ByteView bytes) = 0;
  // True afterwards: the images, `metadata` and disk_consistent_lsn() == start_lsn are durable, in one step.
  virtual Status finish(Bytes metadata) = 0;
};

class TimelineStore {
 public:
  // Finds the store of an ancestor, opening it if need be.
  using AncestorResolver = std::function<Result<std::shared_ptr<TimelineStore>>(const TimelineId&)>;
  // The page of `key` as of `lsn`, 8192 bytes. Called from the flush thread with no lock held; may read this store.
  using ImageMaker = std::function<Result<Bytes>(const Key& key, Lsn lsn)>;

  // Creates `dir` (its parent exists) with an index; durable when it returns, a few milliseconds. Starts no thread.
  // disk_consistent_lsn() is start_lsn. Errors: kExists: there is an index already; kInvalid: start_lsn is 0, or
  // differs from ancestor_lsn on a branch.
  static Result<std::shared_ptr<TimelineStore>> create(const std::filesystem::path& dir, CreateOptions options);

  // Opens what create() made; reads the index file and the folder's list, no layer. Deletes layer files that the
  // index does not name. A layer file that is missing or has a wrong size is logged, and reads that need it fail.
  // Errors: kNotFound: no index here; kCorrupt, kTruncated, kTooNew: of the index; errors of `resolve`, which is called
  // once for a branch and never gives null.
  static Result<std::shared_ptr<TimelineStore>> open(const std::filesystem::path& dir, const AncestorResolver& resolve,
                                                     StoreOptions options = StoreOptions::defaults());
  virtual ~TimelineStore() = default;

  // --- writing ---

  // Adds versions at `lsn`. Several calls per LSN are fine; a second put of the same (key, lsn) replaces the first
  // (also by a hot-chain image). Copies the bytes. Never blocks, never touches the disk.
  // Errors: kInvalid: lsn lies below an earlier write's, or is not above start_lsn and the last freeze; will_init is
  // false for a kind other than kRecord.
  virtual Status write(Lsn lsn, std::span<const Put> puts) = 0;

  // The open layer has reached freeze_bytes.
  virtual bool should_freeze() const = 0;
  virtual uint64_t open_bytes() const = 0;  // 0: nothing was written since the last freeze

  // The open layer becomes immutable and is written out in the background; once it is durable,
  // disk_consistent_lsn() is at least last_record_lsn and metadata() is `metadata`. With an empty open layer only the
  // index is written; with nothing to change at all nothing happens. Waits while max_frozen_layers are not on disk
  // yet (a full disk: until there is room again); freeze_would_wait() tells.
  // Errors: kInvalid: last_record_lsn lies below a write's or an earlier freeze's LSN; kCanceled: stop() was called.
  virtual Status freeze(Lsn last_record_lsn, Bytes metadata) = 0;
  virtual bool freeze_would_wait() const = 0;

  // Waits until everything frozen before this call is on disk. Does not freeze by itself. The error of the first
  // attempt that fails after this call; the background goes on trying.
  virtual Status flush_and_wait() = 0;

  // Everything up to here survives a crash.
  virtual Lsn disk_consistent_lsn() const = 0;
  // As of disk_consistent_lsn(): what create(), the last flushed freeze(), ImageImport::finish() or set_metadata() gave.
  virtual Bytes metadata() const = 0;
  // Replaces the metadata, durably, at once; disk_consistent_lsn stays. A freeze() that was called earlier and is not
  // on disk yet will replace it again.
  virtual Status set_metadata(Bytes metadata) = 0;

  // Only for a store without layers and writes (kInvalid).
  virtual Result<std::unique_ptr<ImageImport>> begin_import() = 0;

  // While a layer is flushed, a block key whose chain of records since the last will_init has reached
  // image_chain_length gets an image at its last LSN in that layer, in place of the record there. If the maker
  // fails, the record stays (rule: a page that redo refuses stays refused).
  // Set before the first freeze().
  virtual void set_image_maker(ImageMaker maker) = 0;

  // Ends the background thread; freeze() and flush_and_wait() answer kCanceled from then on. Reads go on.
  virtual void stop() = 0;

  // --- reading; `at` is inclusive ---

  // Newest first, down to and including the first version with will_init. Empty: the key has no version <= at.
  // The last one has will_init == false only if history begins there: a record without a base.
  // Tombstones and zero pages are versions (will_init).
  virtual Result<std::vector<Version>> get_versions(const Key& key, Lsn at) const = 0;

  // Only the newest version <= at; a tombstone is given as such.
  virtual Result<std::optional<Version>> get_latest(const Key& key, Lsn at) const = 0;

  // All versions with after < lsn <= at, newest first, regardless of will_init, ancestors included. For small
  // histories (zero ranges, WAL positions): the result is not bounded.
  virtual Result<std::vector<Version>> list_versions(const Key& key, Lsn after, Lsn at) const = 0;

  // For each key in the range, ascending: its newest version <= at. Keys whose newest version is a tombstone are left
  // out (a child's tombstone hides the ancestor's value). For block keys that version may be a record.
  // `visit` returns false to stop early. It may call the store.
  virtual Status scan_latest(const KeyRange& range, Lsn at,
                             const std::function<bool(const Key&, const Version&)>& visit) const = 0;

  // --- facts ---

  virtual const TimelineId& timeline_id() const = 0;
  virtual Lsn start_lsn() const = 0;
  virtual std::shared_ptr<TimelineStore> ancestor() const = 0;  // empty for a root
  virtual Lsn ancestor_lsn() const = 0;
  virtual StoreStats stats() const = 0;
};

// What open() would need as ancestor, without opening: {timeline id, ancestor's id if any}. For building the tree.
struct StoreSummary {
  TimelineId timeline_id;
  Lsn start_lsn;
  Lsn disk_consistent_lsn;
  std::optional<TimelineId> ancestor_id;
  Lsn ancestor_lsn;
  Bytes metadata;
};
Result<StoreSummary> read_store_summary(const std::filesystem::path& dir);

}  // namespace helium::layer
