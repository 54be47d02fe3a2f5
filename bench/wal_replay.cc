// wal_replay: all of a crashed cluster's WAL applied by our redo in one thread, and what that took.
//
//   wal_replay --base DATADIR --wal DIR [--final DATADIR]
//
// Goal: the work of PostgreSQL's own crash recovery, for bench/redo_recovery to hold the two side by side. It starts at
// the checkpoint that the control file of `base` names, checks every record's CRC, reads a page from the files of `base`
// when a record needs the one from before, keeps each page that it touches in memory, and ends at the end of valid WAL:
// then every page is at its final version. Relations, their forks, visibility maps, SLRU pages, truncations, drops and
// the next transaction id follow the WAL as well. Nothing is written; PostgreSQL's buffers hold all as well.
// `final` is what PostgreSQL made of the same: each of its pages must have our LSN and page pointers.
// Prints one line of JSON. Exit code 1: a record was refused, or a page differs.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include <fmt/format.h>

#include "base/check.h"
#include "io/durable_file.h"
#include "pg/constants.h"
#include "pg/control_file.h"
#include "pg/page.h"
#include "pg/wal_stream.h"
#include "redo/oracle.h"
#include "redo/redo.h"
#include "redo/side_effects.h"
#include "redo/xact_record.h"

namespace helium::redo {
namespace {

using pg::Fork;
using pg::RelTag;

// -- pages ----------------------------------------------------------------------------------------------------------------

// Zeroed pages, never given back.
class PageArena {
 public:
  std::byte* page() {
    if (left_ == 0) {
      void* chunk = ::mmap(nullptr, kChunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      CHECK(chunk != MAP_FAILED);
      (void)::madvise(chunk, kChunk, MADV_HUGEPAGE);  // where the kernel allows it
      next_ = static_cast<std::byte*>(chunk);
      left_ = kChunk / pg::kBlockSize;
    }
    --left_;
    return std::exchange(next_, next_ + pg::kBlockSize);
  }

 private:
  static constexpr size_t kChunk = 64 << 20;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
};

// One fork of one relation: its pages by number; null: not touched yet.
struct Relation {
  std::vector<std::byte*> pages;
  uint32_t base_limit = UINT32_MAX;  // blocks from here on are not the base directory's any more
  std::vector<Fd> segments;          // of the base directory, opened when first read
};

struct RelTagHash {
  size_t operator()(const RelTag& rel) const {
    const uint64_t mixed = (uint64_t{rel.relnode} << 32 | rel.dbnode) ^ (uint64_t{rel.spcnode} << 2) ^
                           static_cast<uint64_t>(rel.forknum);
    return static_cast<size_t>(mixed * 0x9E3779B97F4A7C15u >> 16);
  }
};

class Pages {
 public:
  explicit Pages(std::filesystem::path base) : base_(std::move(base)) {}

  MutableByteView get(const RelTag& rel, uint32_t blkno, bool from_nothing) {
    CHECK(blkno < kMaxBlocks);
    Relation& relation = relations_[rel];
    if (blkno >= relation.pages.size()) relation.pages.resize(std::max<size_t>(blkno + 1, relation.pages.size() * 2));
    std::byte*& page = relation.pages[blkno];
    if (page == nullptr) {
      page = arena_.page();
      if (!from_nothing && blkno < relation.base_limit) read_base(relation, rel, blkno, page);
    }
    return {page, pg::kBlockSize};
  }
  std::byte* slru_page(const SlruEffect& effect) {
    auto [page, fresh] = slru_.try_emplace({effect.segment, effect.page_in_segment});
    if (fresh) {
      page->second = arena_.page();
      if (!effect.will_init) {
        if (const auto old = DataDirectory(base_).read_slru_page(effect.segment, effect.page_in_segment)) {
          std::memcpy(page->second, old->data(), old->size());
        }
      }
    }
    return page->second;
  }
  void create(const RelTag& rel) { relations_[rel].base_limit = 0; }
  void cut(RelTag rel, Fork fork, uint32_t from_block) {
    rel.forknum = fork;
    Relation& relation = relations_[rel];
    if (relation.pages.size() > from_block) relation.pages.resize(from_block);
    relation.base_limit = std::min(relation.base_limit, from_block);
  }

  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const auto& [rel, relation] : relations_) {
      for (size_t i = 0; i < relation.pages.size(); ++i) {
        if (relation.pages[i] != nullptr) visit(rel, static_cast<uint32_t>(i), ByteView(relation.pages[i], pg::kBlockSize));
      }
    }
  }

 private:
  static constexpr uint32_t kMaxBlocks = 1u << 24;  // 128 GB: more than a benchmark has

  void read_base(Relation& relation, const RelTag& rel, uint32_t blkno, std::byte* page) const {
    const uint32_t segno = blkno / pg::kRelSegBlocks;
    if (relation.segments.size() <= segno) relation.segments.resize(segno + 1);
    Fd& file = relation.segments[segno];
    if (!file) {
      file = Fd(::open(DataDirectory(base_).relation_path(rel, segno).c_str(), O_RDONLY | O_CLOEXEC));
      if (!file) return;  // no such page: zeros
    }
    const ssize_t got = ::pread(file.get(), page, pg::kBlockSize,
                                static_cast<off_t>(blkno % pg::kRelSegBlocks) * static_cast<off_t>(pg::kBlockSize));
    CHECK(got == 0 || got == static_cast<ssize_t>(pg::kBlockSize));
  }

  const std::filesystem::path base_;
  PageArena arena_;
  std::unordered_map<RelTag, Relation, RelTagHash> relations_;
  std::map<std::pair<pg::SlruSegment, uint32_t>, std::byte*> slru_;
};

// -- replay ---------------------------------------------------------------------------------------------------------------

class Replay {
 public:
  Replay(const std::filesystem::path& base, const pg::ControlFile& control)
      : pages_(base), hints_(control.data_checksums() || control.wal_log_hints()),
        commit_ts_(control.track_commit_timestamp()), decoder_(control.checkpoint().redo) {}

  Lsn next_lsn() const { return decoder_.fed_lsn(); }
  // WAL from next_lsn() on. False: valid WAL has ended.
  Result<bool> add(ByteView wal) {
    decoder_.feed(wal);
    while (true) {
      const auto record = decoder_.next();
      if (!record) return false;
      if (!*record) return true;
      HELIUM_TRY(replay(**record));
      ++records;
    }
  }
  const Pages& pages() const { return pages_; }
  Lsn end_lsn() const { return decoder_.record_end_lsn(); }

  uint64_t records = 0;
  uint64_t next_xid = 3;

 private:
  Status replay(const pg::WalRecordView& view) {
    HELIUM_TRY(pg::decode_record(view.bytes, kVersion, record_));
    const pg::DecodedRecord& record = record_;
    for_each_assigned_xid(record, kVersion, [this](uint32_t xid) { next_xid = advance_next_xid(next_xid, xid); });
    HELIUM_TRY(follow_files(record));
    for (const pg::BlockRef& ref : record.blocks) {
      if (redo_has_no_effect(record, ref)) continue;
      const MutableByteView page = pages_.get(ref.rel, ref.blkno, redo_starts_from_nothing(record, ref));
      HELIUM_TRY(redo_block_in_place(record, ref, {view.end_lsn, kVersion, hints_, ref.blkno, ref.rel}, page));
    }
    Status status;
    for_each_vm_effect(record, kVersion, [&](const VmPage& vm) {
      const MutableByteView page = pages_.get(vm.rel, vm.blkno, false);
      if (status) status = redo_vm_side_effect(record, {view.end_lsn, kVersion, hints_, vm.blkno, vm.rel}, page);
    });
    HELIUM_TRY(std::move(status));
    HELIUM_TRY(for_each_slru_effect(record, kVersion, [&](const SlruEffect& effect) {
      if (!status || (effect.segment.kind == pg::SlruKind::kCommitTs && !commit_ts_)) return;
      status = redo_slru_page(record, effect.segment, effect.page_in_segment, {view.end_lsn, kVersion, hints_, 0, {}},
                              {pages_.slru_page(effect), pg::kBlockSize});
    }));
    return status;
  }

  Status follow_files(const pg::DecodedRecord& record) {
    switch (static_cast<pg::Rmgr>(record.rmgr)) {
      case pg::Rmgr::kSmgr:
        if (const auto created = parse_smgr_create(record)) {
          pages_.create(*created);
        } else if (const auto cut = parse_smgr_truncate(record)) {
          pages_.cut(cut->rel, Fork::kMain, cut->nblocks);
          if (cut->vm) pages_.cut(cut->rel, Fork::kVm, vm_truncation(cut->nblocks).nblocks);
        }
        return {};
      case pg::Rmgr::kXact:
        if (!is_xact_end(record)) return {};
        if (const auto xact = parse_xact_end(record, kVersion)) {
          for (const RelTag& rel : xact->dropped_rels) {
            for (int fork = 0; fork < pg::kForkCount; ++fork) pages_.cut(rel, static_cast<Fork>(fork), 0);
          }
        }
        return {};
      case pg::Rmgr::kDbase:
      case pg::Rmgr::kTblspc:
        return fail(ErrorCode::kInvalid, "replay WAL: it creates or drops a database or tablespace, which this benchmark "
                                         "does not follow: leave that out of the workload");
      default: return {};
    }
  }

  static constexpr int kVersion = 15;
  Pages pages_;
  const bool hints_, commit_ts_;
  pg::WalStreamDecoder decoder_;
  pg::DecodedRecord record_;
};

// -- what comes out -------------------------------------------------------------------------------------------------------

double seconds_of(const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; }

// All WAL of the folder from replay.next_lsn() on, read in small pieces as PostgreSQL does.
Status replay_folder(Replay& replay, const std::filesystem::path& folder) {
  Bytes piece(128 * 1024);
  while (true) {
    const uint64_t segno = pg::wal_segment_number(replay.next_lsn());
    const std::filesystem::path path = folder / pg::wal_segment_name(1, segno);
    if (!std::filesystem::exists(path)) return {};
    HELIUM_ASSIGN(const Fd file, open_file(path, O_RDONLY));
    while (pg::wal_segment_number(replay.next_lsn()) == segno) {
      const uint64_t offset = pg::wal_segment_offset(replay.next_lsn());
      const MutableByteView part = MutableByteView(piece).first(piece.size() - offset % piece.size());
      HELIUM_TRY(pread_exact(file, part, offset));
      HELIUM_ASSIGN(const bool more, replay.add(part));
      if (!more) return {};
    }
  }
}

struct Compared {
  uint64_t pages = 0, different = 0;
  std::string first;
};
// LSN, pd_lower, pd_upper and pd_special of each page. What else a page holds is the oracle's business (redo_oracle).
Compared compare(const Pages& pages, const std::filesystem::path& final_directory) {
  const DataDirectory theirs(final_directory);
  Compared compared;
  pages.for_each([&](const RelTag& rel, uint32_t blkno, ByteView ours) {
    if (rel.forknum == Fork::kFsm || pg::page_is_new(ours)) return;
    const auto page = theirs.read_block(rel, blkno);
    ++compared.pages;
    if (page && pg::page_lsn(*page) == pg::page_lsn(ours) && std::memcmp(page->data() + 12, ours.data() + 12, 6) == 0) return;
    if (compared.different++ > 0) return;
    compared.first = fmt::format("{} blk {}: our LSN {}, PostgreSQL's {}", pg::to_string(rel), blkno,
                                 to_string(pg::page_lsn(ours)), page ? to_string(pg::page_lsn(*page)) : "(no page)");
  });
  return compared;
}

Result<bool> run(const std::filesystem::path& base, const std::filesystem::path& wal, const std::string& final_directory) {
  HELIUM_ASSIGN(const Bytes control_file, read_file(base / "global" / "pg_control"));
  HELIUM_ASSIGN(const pg::ControlFile control, pg::ControlFile::parse(control_file, 15));
  const Lsn start = control.checkpoint().redo;
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const auto begin = std::chrono::steady_clock::now();
  Replay replay(base, control);
  HELIUM_TRY(replay_folder(replay, wal));
  if (replay.records == 0)
    return fail(ErrorCode::kNotFound, fmt::format("{} has no record from {} on, where the base's checkpoint starts", wal.string(), to_string(start)));
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  getrusage(RUSAGE_SELF, &after);
  uint64_t pages = 0;
  replay.pages().for_each([&](const RelTag&, uint32_t, ByteView) { ++pages; });
  nlohmann::json out{{"start", to_string(start)},
                     {"end", to_string(replay.end_lsn())},
                     {"bytes", replay.end_lsn() - start},
                     {"records", replay.records},
                     {"pages", pages},
                     {"next_xid", replay.next_xid},
                     {"elapsed_s", elapsed},
                     {"user_s", seconds_of(after.ru_utime) - seconds_of(before.ru_utime)},
                     {"system_s", seconds_of(after.ru_stime) - seconds_of(before.ru_stime)}};
  bool same = true;
  if (!final_directory.empty()) {
    const Compared compared = compare(replay.pages(), final_directory);
    same = compared.different == 0 && compared.pages > 0;
    out["compared_pages"] = compared.pages;
    out["different_pages"] = compared.different;
    out["first_difference"] = compared.first;
  }
  fmt::print("{}\n", out.dump());
  return same;
}

}  // namespace
}  // namespace helium::redo

int main(int argc, char** argv) {
  std::string base, wal, final_directory;
  CLI::App app{"Applies a crashed cluster's WAL (PostgreSQL 15) in one thread, pages in memory, and prints what it took."};
  app.add_option("--base", base, "copy of the data directory, its control file at the checkpoint to start from")->required();
  app.add_option("--wal", wal, "pg_wal directory")->required();
  app.add_option("--final", final_directory, "the data directory after PostgreSQL's recovery and a clean stop");
  CLI11_PARSE(app, argc, argv);
  const auto same = helium::redo::run(base, wal, final_directory);
  if (!same) {
    fmt::print(stderr, "wal_replay: {}\n", same.error().message);
    return 1;
  }
  return *same ? 0 : 1;
}
