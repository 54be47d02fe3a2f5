#include "redo/oracle.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "pg/page.h"
#include "pg/wal_segment.h"
#include "redo/mask.h"
#include "redo/side_effects.h"
#include "redo/xact_record.h"

namespace helium::redo {

using pg::Fork;
using pg::RelTag;

namespace {

void note(OracleCounts& counts, std::string problem) {
  if (counts.first_problem.empty()) counts.first_problem = std::move(problem);
}

RelTag main_fork(RelTag rel) {
  rel.forknum = Fork::kMain;
  return rel;
}

bool vm_bits_are_subset(const PageBytes& a, const PageBytes& of) {
  for (size_t i = pg::kPageHeaderSize; i < a.size(); ++i)
    if ((a[i] & ~of[i]) != std::byte{0}) return false;
  return std::memcmp(a.data() + 10, of.data() + 10, pg::kPageHeaderSize - 10) == 0;  // the header, without LSN and checksum
}

}  // namespace

Oracle::Oracle(OracleOptions options) : options_(std::move(options)) {
  if (options_.base) base_.emplace(*options_.base);
}

RedoContext Oracle::context(const RelTag& rel, uint32_t blkno, Lsn end) const {
  return RedoContext{end, options_.pg_version, options_.data_checksums_or_wal_log_hints, blkno, rel};
}

PageBytes* Oracle::find_page(const BlockKey& key) {
  if (const auto known = pages_.find(key); known != pages_.end()) return known->second.get();
  const auto limit = base_limit_.find(key.rel);
  const bool base_has_it = limit == base_limit_.end() || key.blkno < limit->second;
  std::optional<PageBytes> page;
  if (base_ && base_has_it) {
    RelTag rel = key.rel;
    if (const auto copied = copied_from_.find({rel.spcnode, rel.dbnode}); copied != copied_from_.end())
      std::tie(rel.spcnode, rel.dbnode) = copied->second;
    page = base_->read_block(rel, key.blkno);
  }
  if (!page && (base_ || !base_has_it || created_.contains(main_fork(key.rel)))) page.emplace();  // zeros
  if (!page) return nullptr;
  return (pages_[key] = std::make_unique<PageBytes>(*page)).get();
}

Status Oracle::replay(const pg::WalRecordView& view) {
  HELIUM_ASSIGN(const pg::DecodedRecord record, pg::decode_record(view.bytes, options_.pg_version));
  if (record.blocks.empty() && options_.on_record_without_block)
    options_.on_record_without_block(pg::record_type_name(record.rmgr, record.info, options_.pg_version), view.bytes);
  // What the base directory has is whole, and so is what is adopted from an image.
  copied_maps_.note(record, options_.pg_version, view.end_lsn, [](const MapPage&) { return false; });
  replay_side_effects(record, view.end_lsn);
  for (const pg::BlockRef& ref : record.blocks) replay_block(view, record, ref);
  for_each_vm_effect(record, options_.pg_version, [&](const VmPage& vm) {
    PageBytes* page = find_page({vm.rel, vm.blkno});
    if (page == nullptr) return;
    OracleCounts& counts = counts_["(visibility map by side effect)"];
    ++counts.applied;
    if (Status status = redo_vm_side_effect(record, context(vm.rel, vm.blkno, view.end_lsn), *page); !status) {
      ++counts.refused;
      note(counts, status.error().message);
    }
  });
  replay_slru(record, view.end_lsn);
  return {};
}

void Oracle::replay_block(const pg::WalRecordView& view, const pg::DecodedRecord& record, const pg::BlockRef& ref) {
  const Lsn end = view.end_lsn;
  const std::string type = pg::record_type_name(record.rmgr, record.info, options_.pg_version);
  OracleCounts& counts = counts_[ref.id == 0 ? type : fmt::format("{} blk {}", type, ref.id)];
  const BlockKey key{ref.rel, ref.blkno};
  if (redo_has_no_effect(record, ref)) return;
  PageBytes* page = find_page(key);
  if (page == nullptr) {
    page = (pages_[key] = std::make_unique<PageBytes>()).get();
    if (!redo_starts_from_nothing(record, ref)) {
      ++counts.adopted;
      if (!ref.image || !pg::restore_image(*ref.image, *page)) {
        pages_.erase(key);
        return;
      }
      if (!pg::page_is_new(*page)) pg::set_page_lsn(*page, end);
      return;
    }
  }
  const std::string where = fmt::format("{} at {} blk {}, LSN {}", type, pg::to_string(ref.rel), ref.blkno, to_string(end));
  const bool image_is_page = ref.image && (ref.image->apply || redo_takes_check_image(record, ref, *page));
  if (options_.on_redo) options_.on_redo(type, ref, *page, view.bytes);
  if (Status status = redo_block(record, ref, context(ref.rel, ref.blkno, end), *page); !status) {
    ++counts.refused;
    note(counts, status.error().message);
    if (ref.image) (void)pg::restore_image(*ref.image, *page);
  } else if (image_is_page) {
    ++counts.images;
  } else if (!ref.image) {
    ++counts.applied;
  } else {
    compare(record, ref, *page, counts, where);
  }
}

void Oracle::compare(const pg::DecodedRecord& record, const pg::BlockRef& ref, PageBytes& page, OracleCounts& counts,
                     const std::string& where) {
  PageBytes image;
  if (Status restored = pg::restore_image(*ref.image, image); !restored) {
    note(counts, where + ": " + restored.error().message);
    return;
  }
  ++counts.compared;
  copied_maps_.copy_unknown({ref.rel, ref.blkno}, page, image);
  PageBytes ours_masked = page;
  PageBytes image_masked = image;
  const Status mask_ours = mask_page(record.rmgr, record.info, ref.rel, ref.blkno, ours_masked);
  const Status mask_image = mask_page(record.rmgr, record.info, ref.rel, ref.blkno, image_masked);
  const std::optional<uint32_t> offset = compare_pages(ours_masked, image_masked);
  if (mask_ours && mask_image && !offset) return;
  // Clearing a bit is not ordered with the record that says so: the check image may lack bits that we still have.
  if (offset && ref.rel.forknum == Fork::kVm && vm_bits_are_subset(image, page)) return;
  ++counts.differences;
  note(counts, offset ? fmt::format("{}: differs at byte {}: ours {:#04x}, PostgreSQL's {:#04x}", where, *offset,
                                    static_cast<int>(ours_masked[*offset]), static_cast<int>(image_masked[*offset]))
                      : where + ": cannot be masked");
  pg::set_page_lsn(image, pg::page_lsn(page));
  page = image;  // one difference, counted once
}

void Oracle::forget_relation(const RelTag& main, uint32_t from_block, bool all_forks) {
  for (int fork = 0; fork < pg::kForkCount; ++fork) {
    RelTag rel = main;
    rel.forknum = static_cast<Fork>(fork);
    uint32_t from = from_block;
    if (!all_forks && rel.forknum == Fork::kVm) from = vm_truncation(from_block).nblocks;
    if (!all_forks && (rel.forknum == Fork::kFsm || rel.forknum == Fork::kInit)) continue;
    pages_.erase(pages_.lower_bound({rel, from}), pages_.upper_bound({rel, UINT32_MAX}));
    const auto limit = base_limit_.try_emplace(rel, from).first;
    limit->second = std::min(limit->second, from);
  }
}

void Oracle::copy_database(uint32_t src_spc, uint32_t src_db, uint32_t dst_spc, uint32_t dst_db) {
  std::vector<std::pair<BlockKey, PageBytes>> copies;
  for (const auto& [key, page] : pages_) {
    if (key.rel.spcnode != src_spc || key.rel.dbnode != src_db) continue;
    BlockKey copy = key;
    copy.rel.spcnode = dst_spc;
    copy.rel.dbnode = dst_db;
    copies.emplace_back(copy, *page);
  }
  for (auto& [key, page] : copies) pages_[key] = std::make_unique<PageBytes>(page);
  std::vector<std::pair<RelTag, uint32_t>> limits;
  for (const auto& [known, limit] : base_limit_) {
    RelTag rel = known;
    if (rel.spcnode != src_spc || rel.dbnode != src_db) continue;
    rel.spcnode = dst_spc;
    rel.dbnode = dst_db;
    limits.emplace_back(rel, limit);
  }
  base_limit_.insert(limits.begin(), limits.end());
  std::pair source{src_spc, src_db};
  if (const auto older = copied_from_.find(source); older != copied_from_.end()) source = older->second;
  copied_from_[{dst_spc, dst_db}] = source;
}

void Oracle::replay_side_effects(const pg::DecodedRecord& record, Lsn end) {
  (void)end;
  switch (static_cast<pg::Rmgr>(record.rmgr)) {
    case pg::Rmgr::kSmgr:
      if (const auto created = parse_smgr_create(record)) {
        created_.insert(main_fork(*created));
        base_limit_.try_emplace(*created, 0);
      } else if (const auto truncate = parse_smgr_truncate(record)) {
        forget_relation(truncate->rel, truncate->nblocks, /*all_forks=*/false);
      }
      break;
    case pg::Rmgr::kXact:
      if (const auto xact = parse_xact_end(record, options_.pg_version))
        for (const RelTag& rel : xact->dropped_rels) forget_relation(rel, 0, /*all_forks=*/true);
      break;
    case pg::Rmgr::kDbase:
      if (const auto dbase = parse_dbase(record, options_.pg_version); dbase && dbase->op == DbaseOp::kCreateFileCopy)
        copy_database(dbase->src_spcnode, dbase->src_dbnode, dbase->spcnode, dbase->dbnode);
      break;
    case pg::Rmgr::kXlog:
      if (const auto change = parse_parameter_change(record)) {
        options_.track_commit_timestamp = change->track_commit_timestamp;
      }
      break;
    default: break;
  }
}

void Oracle::replay_slru(const pg::DecodedRecord& record, Lsn end) {
  OracleCounts& counts = counts_["(SLRU pages)"];
  const Status named = for_each_slru_effect(record, options_.pg_version, [&](const SlruEffect& effect) {
    if (effect.segment.kind == pg::SlruKind::kCommitTs && !options_.track_commit_timestamp) return;
    const SlruKey key{effect.segment, effect.page_in_segment};
    auto [page, fresh] = slru_pages_.try_emplace(key);
    if (fresh && !effect.will_init && base_)
      page->second = base_->read_slru_page(effect.segment, effect.page_in_segment).value_or(PageBytes{});
    ++counts.applied;
    if (Status status = redo_slru_page(record, effect.segment, effect.page_in_segment, context({}, 0, end), page->second);
        !status) {
      ++counts.refused;
      note(counts, status.error().message);
    }
  });
  if (!named) {
    ++counts.refused;
    note(counts, named.error().message);
  }
}

OracleCounts Oracle::total() const {
  OracleCounts sum;
  for (const auto& [type, counts] : counts_) {
    sum.compared += counts.compared;
    sum.differences += counts.differences;
    sum.refused += counts.refused;
    sum.applied += counts.applied;
    sum.images += counts.images;
    sum.adopted += counts.adopted;
    if (sum.first_problem.empty()) sum.first_problem = counts.first_problem;
  }
  return sum;
}

std::string format_counts(const std::map<std::string, OracleCounts>& counts) {
  std::string text = fmt::format("{:<36} {:>9} {:>6} {:>7} {:>8} {:>8} {:>7}\n", "record type", "compared", "differ",
                                 "refused", "applied", "images", "adopted");
  OracleCounts sum;
  const auto line = [&](const std::string& name, const OracleCounts& c) {
    text += fmt::format("{:<36} {:>9} {:>6} {:>7} {:>8} {:>8} {:>7}\n", name, c.compared, c.differences, c.refused,
                        c.applied, c.images, c.adopted);
    if (!c.first_problem.empty()) text += "    " + c.first_problem + "\n";
  };
  for (const auto& [name, c] : counts) {
    if (c.compared + c.differences + c.refused + c.applied + c.images + c.adopted == 0) continue;
    line(name, c);
    sum.compared += c.compared;
    sum.differences += c.differences;
    sum.refused += c.refused;
    sum.applied += c.applied;
    sum.images += c.images;
    sum.adopted += c.adopted;
  }
  line("total", sum);
  return text;
}

namespace {

// Feeds segments in order; `done` when valid WAL has ended.
struct SegmentReplay {
  Oracle& oracle;
  std::optional<Lsn> start;
  OracleRun run;
  std::optional<pg::WalStreamDecoder> decoder;
  bool done = false;

  Status add(ByteView bytes) {
    HELIUM_ASSIGN(const pg::WalSegmentInfo info, pg::read_segment_info(bytes));
    if (!decoder) {
      if (start && *start >= info.start_lsn + pg::kWalSegmentSize) return {};
      if (!start) {
        HELIUM_ASSIGN(start, pg::find_first_record(bytes, info.start_lsn));
      }
      decoder.emplace(*start);
      run.start = *start;
    }
    if (info.start_lsn + bytes.size() <= decoder->fed_lsn()) return {};
    done = info.start_lsn > decoder->fed_lsn();  // a recycled segment, or a gap
    if (!done) decoder->feed(bytes.subspan(decoder->fed_lsn() - info.start_lsn));
    while (!done) {
      const auto record = decoder->next();
      done = !record;
      if (!record || !*record) break;
      HELIUM_TRY(oracle.replay(**record));
      run.end = (*record)->end_lsn;
      ++run.records;
    }
    return {};
  }
};

}  // namespace

Result<OracleRun> replay_wal(Oracle& oracle, ByteView segments) {
  SegmentReplay replay{oracle, std::nullopt, {}, {}};
  while (!segments.empty() && !replay.done) {
    const size_t size = std::min<size_t>(segments.size(), pg::kWalSegmentSize);
    HELIUM_TRY(replay.add(segments.first(size)));
    segments = segments.subspan(size);
  }
  return replay.run;
}

Result<OracleRun> replay_wal_directory(Oracle& oracle, const std::filesystem::path& directory, std::optional<Lsn> start) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (name.size() == 24 && name.find_first_not_of("0123456789ABCDEF") == std::string::npos) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  SegmentReplay replay{oracle, start, {}, {}};
  Bytes bytes;
  for (const auto& path : paths) {
    if (replay.done) break;
    std::ifstream file(path, std::ios::binary);
    bytes.resize(pg::kWalSegmentSize);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<size_t>(file.gcount()));
    if (Status added = replay.add(bytes); !added) return fail(std::move(added).error().context(path.string()));
  }
  return replay.run;
}

}  // namespace helium::redo
