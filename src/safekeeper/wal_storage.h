// WalStorage: one timeline's WAL on disk, in PostgreSQL's segment format, and where its last complete record ends.
//
// Files: whole 16 MiB segments named as PostgreSQL does, created zeroed and never recycled. Bytes behind the last
// complete record are a private tail; nobody is told of them (rule 3).
// Errors: kNoSpace: nothing was lost, try again when there is room; kCorrupt from write(): the bytes are no WAL, the
//   tail is dropped; kCorrupt from open(): synced WAL is damaged, the text names segment and offset.
// A failed fsync ends the process.
// Threads: write, sync, truncate and the rest from one thread at a time; run_sync(), prepare_next_segment() and readers
// from any, meanwhile.
// Source: PostgreSQL 15 xlog_internal.h. Format: docs/formats/wal_segment.md.

#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/planted_bugs.h"
#include "base/result.h"
#include "io/disk.h"
#include "pg/wal_stream.h"

namespace helium::safekeeper {

// At most so much WAL is written between two syncs. Recovery counts on it: well-formed WAL further behind a bad record
// proves that the record had been synced, so it is damaged and not merely torn.
inline constexpr uint64_t kMaxUnsyncedBytes = 4 * 1024 * 1024;

class WalStorage {
 public:
  // The first segment of a timeline that starts at `start` (rule 10). Durable on return.
  static Status create(Disk& disk, const std::filesystem::path& folder, Lsn start, uint64_t system_id, int pg_version);

  // A segment of the pieces and zeros around them; replaces what is there. Durable on return.
  static Status create_segment(Disk& disk, const std::filesystem::path& folder, uint64_t segno,
                               std::span<const Disk::Piece> pieces);

  struct Recovery {
    Lsn verify_lsn;   // a record end; read from here on
    Lsn flushed_lsn;  // WAL up to here was synced for sure
    bool is_exact = false;  // and there is no whole record behind it: nothing is read
    int pg_version = 0;     // WAL of another one is refused; 0: whatever comes first
  };
  static Result<std::unique_ptr<WalStorage>> open(std::shared_ptr<Disk> disk, const std::filesystem::path& folder,
                                                  const Recovery& recovery);

  Lsn end_of_bytes() const { return end_of_bytes_; }  // where the next byte goes
  Lsn record_end() const { return planted(Bug::kTailCounts) ? end_of_bytes_ : decoder_.record_end_lsn(); }
  uint64_t unsynced_bytes() const { return written_ - synced_; }
  // A record end near the start of the segment that is being written: where recovery may begin.
  Lsn verify_lsn() const { return verify_lsn_; }  // from any thread

  // Bytes at end_of_bytes(). The caller syncs before unsynced_bytes() exceeds kMaxUnsyncedBytes.
  Status write(ByteView bytes);
  // All that was written is on disk.
  void sync();

  // The same in three steps, so that more can be written while the disk works: what there is to sync now; syncing it;
  // taking note that it is synced. finish_sync() returns the record end that is durable by it; nothing if WAL was
  // truncated meanwhile.
  struct PendingSync {
    std::shared_ptr<OpenFile> segment;  // null: all is on disk already
    Lsn record_end;
    uint64_t written = 0;
    uint64_t truncations = 0;
  };
  PendingSync begin_sync() const;
  void run_sync(const PendingSync& pending);
  std::optional<Lsn> finish_sync(const PendingSync& pending);

  // Forgets the private tail without touching the disk: the same bytes will come again.
  void drop_tail();
  // What lies behind record_end() is zero, durably. Before a later term is promised: zeros on the disk can complete a
  // record whose last bytes are zeros, and a log must not grow behind what a vote said of it.
  Status erase_tail();
  // `to`: a record end, at most record_end(). Everything behind it that was ever written is zero, durably (rule 4).
  // After an error some of it may be there still, and record_end() is `to`: try again before anything is written.
  Status truncate(Lsn to);

  // Creates the segment behind the one that is being written, if it is not there, so that crossing over costs nothing.
  Status prepare_next_segment();
  // True once, when half of a segment is written and the next one is not there.
  bool wants_next_segment();

  const std::filesystem::path& folder() const { return folder_; }

 private:
  WalStorage(std::shared_ptr<Disk> disk, std::filesystem::path folder, Lsn verify_lsn, int pg_version)
      : disk_(std::move(disk)), folder_(std::move(folder)), pg_version_(pg_version), decoder_(verify_lsn, pg_version) {}
  Status recover(const Recovery& recovery);
  Status sync_recovered(Lsn flushed_lsn);
  Status remove_segments_behind(uint64_t segno);
  Status zero_behind(Lsn to, std::optional<Lsn> dirty_end);
  Status check_no_wal_behind(Lsn record_end) const;
  Status open_segment(uint64_t segno);
  Status parse(ByteView bytes);

  const std::shared_ptr<Disk> disk_;
  const std::filesystem::path folder_;
  const int pg_version_;
  pg::WalStreamDecoder decoder_;
  Lsn end_of_bytes_;
  std::atomic<Lsn> verify_lsn_;
  uint64_t written_ = 0;          // bytes since the start
  uint64_t synced_ = 0;           // of them
  uint64_t truncations_ = 0;
  std::optional<Lsn> dirty_end_;  // bytes at and behind it are zero; unknown after recovery
  std::shared_ptr<OpenFile> segment_;
  std::optional<uint64_t> segment_number_;

  // One sync at a time: of two at once, only one would hear of a failed write.
  std::mutex sync_mutex_;

  std::mutex create_mutex_;           // segment files appear and vanish under it
  std::atomic<uint64_t> wanted_segment_{0};    // to be prepared
  std::atomic<uint64_t> prepared_segment_{0};
};

// Reads WAL from segment files; keeps one open. Not thread safe; each reader has its own.
class WalReader {
 public:
  WalReader(std::shared_ptr<Disk> disk, std::filesystem::path folder)
      : disk_(std::move(disk)), folder_(std::move(folder)) {}
  // All bytes [start, start + bytes.size()). Errors: kLsnTooOld when a segment is not there, kIo, kTruncated.
  Status read(Lsn start, MutableByteView bytes);
  // Lets go of the open file.
  void close();

 private:
  const std::shared_ptr<Disk> disk_;
  const std::filesystem::path folder_;
  std::unique_ptr<OpenFile> segment_;
  std::optional<uint64_t> segment_number_;
};

std::filesystem::path segment_path(const std::filesystem::path& folder, uint64_t segno);

}  // namespace helium::safekeeper
