#include "compute/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "compute/page_compare.h"
#include "compute/pg_connection.h"

namespace helium::compute {
namespace {

using std::chrono::milliseconds;

constexpr int kRoundsMax = 5;
constexpr milliseconds kBetweenRounds{300};
constexpr milliseconds kCommitPatience{30000};
constexpr size_t kDifferencesShown = 50;
constexpr size_t kFetchBatch = 64;

struct RelKey {
  uint32_t spcnode, dbnode, relnode;
  auto operator<=>(const RelKey&) const = default;
};
struct RelFacts {
  std::string name;
  PageKind kind{};
  char persistence = 'p';
  std::array<uint64_t, pg::kForkCount> bytes{};  // as PostgreSQL sees them
};
using Catalog = std::map<RelKey, RelFacts>;

uint64_t to_number(const std::string& text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string block_name(const pg::RelTag& rel, const std::string& name, uint32_t blkno) {
  return fmt::format("{} ({}) block {}", to_string(rel), name, blkno);
}

// A table or index of a user's access method that is a built-in one by another name has that one's pages.
constexpr const char* kAccessMethod =
    "(SELECT first.amname FROM pg_am first WHERE first.amhandler = am.amhandler ORDER BY first.oid LIMIT 1)";

// All relations with files of their own, by database. Shared ones turn up in each database, under one key.
Result<Catalog> read_catalog(const EndpointSpec& spec) {
  Catalog catalog;
  HELIUM_ASSIGN(PgConnection main, PgConnection::connect(spec.pg_address, "postgres"));
  HELIUM_ASSIGN(const auto databases,
                main.query("SELECT oid, datname, dattablespace FROM pg_database WHERE datallowconn ORDER BY oid"));
  for (const auto& database : databases) {
    HELIUM_ASSIGN(PgConnection connection, PgConnection::connect(spec.pg_address, database[1]));
    HELIUM_ASSIGN(const auto rows,
                  connection.query("SELECT CASE WHEN c.reltablespace = 0 THEN " + database[2] +
                                   " ELSE c.reltablespace END, c.relisshared, pg_relation_filenode(c.oid), c.relkind, " +
                                   kAccessMethod + ", c.relpersistence, c.relname, pg_relation_size(c.oid, 'main'), "
                                   "pg_relation_size(c.oid, 'vm'), pg_relation_size(c.oid, 'init') "
                                   "FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam "
                                   "WHERE pg_relation_filenode(c.oid) IS NOT NULL AND c.relpersistence <> 't'"));
    for (const auto& row : rows) {
      const bool shared = row[1] == "t";
      const RelKey key{static_cast<uint32_t>(to_number(row[0])),
                       shared ? 0 : static_cast<uint32_t>(to_number(database[0])), static_cast<uint32_t>(to_number(row[2]))};
      RelFacts facts;
      facts.name = database[1] + "." + row[6];
      facts.kind = page_kind(row[3][0], row[4]);
      facts.persistence = row[5][0];
      facts.bytes = {to_number(row[7]), 0, to_number(row[8]), to_number(row[9])};
      catalog[key] = std::move(facts);
    }
  }
  return catalog;
}

// One look at everything, or at what differed before.
class Round {
 public:
  Round(ComputeLife& life, const Catalog& catalog, Lsn lsn, VerifyReport& report, VerifyProgress& progress)
      : life_(life), catalog_(catalog), lsn_(lsn), report_(report), progress_(progress) {}

  Status run() {
    HELIUM_TRY(compare_sizes());
    HELIUM_TRY(compare_slru_sizes());
    std::set<vfs::BlockFile> files;
    uint64_t blocks = 0;
    life_.cache()->visit_files([&](const vfs::CachedFile& file) {
      files.insert(file.what);
      blocks += file.nblocks;
    });
    progress_.blocks_done = 0;
    progress_.blocks_all = blocks;
    for (const vfs::BlockFile& file : files) HELIUM_TRY(compare_file(file));
    return {};
  }

 private:
  void differ(std::string what, std::string kind, std::string detail) {
    report_.differences.push_back({std::move(what), std::move(kind), std::move(detail)});
  }

  // Blocks behind storage's end must be empty pages that WAL never named.
  void check_tail(const pg::RelTag& rel, const std::string& name, uint32_t remote, uint32_t local) {
    for (uint32_t blkno = remote; blkno < local; ++blkno) {
      const Result<Bytes> page = life_.cache()->read_block(rel, blkno);
      if (page && is_unlogged_empty_page(*page)) {
        report_.unlogged_tail_blocks++;
      } else {
        differ(block_name(rel, name, blkno), "size",
               fmt::format("{} blocks here, {} at the pageserver, and this one is not empty", local, remote));
        return;
      }
    }
  }

  Status compare_sizes() {
    for (const auto& [key, facts] : catalog_) {
      if (facts.persistence == 'u') {
        report_.unlogged_relations++;
        continue;
      }
      report_.relations++;
      HELIUM_ASSIGN(const vfs::ForkSizes remote, life_.source()->rel_info(key.spcnode, key.dbnode, key.relnode, lsn_));
      remote_[key] = remote;
      for (const pg::Fork fork : {pg::Fork::kMain, pg::Fork::kVm, pg::Fork::kInit}) {
        const size_t number = static_cast<size_t>(fork);
        const pg::RelTag rel{key.spcnode, key.dbnode, key.relnode, fork};
        const auto local = static_cast<uint32_t>(facts.bytes[number] / pg::kBlockSize);
        const uint32_t there = remote[number].value_or(0);
        report_.fork_sizes_compared++;
        if (local < there) {
          differ(fmt::format("{} ({})", to_string(rel), facts.name), "size",
                 fmt::format("{} blocks here, {} at the pageserver", local, there));
        } else if (local > there) {
          check_tail(rel, facts.name, there, local);
        }
      }
    }
    return {};
  }

  Status compare_slru_sizes() {
    HELIUM_ASSIGN(const auto reply, life_.page_client()->call<wire::ListSlruReply>(
                                        wire::ListSlruRequest{0, {std::max(lsn_, life_.shipped_lsn()), lsn_}}));
    std::map<pg::SlruSegment, std::pair<uint32_t, uint32_t>> sizes;  // here, there
    for (const wire::SlruSize& size : reply.segments) sizes[size.segment].second = size.npages;
    life_.cache()->visit_files([&](const vfs::CachedFile& file) {
      if (const auto* segment = std::get_if<pg::SlruSegment>(&file.what)) sizes[*segment].first = file.nblocks;
    });
    for (const auto& [segment, size] : sizes) {
      report_.slru_segments_compared++;
      slru_pages_[segment] = size.second;
      if (size.first == size.second) continue;
      differ(to_string(segment), "slru_size", fmt::format("{} pages here, {} at the pageserver", size.first, size.second));
    }
    return {};
  }

  Status compare_file(const vfs::BlockFile& file) {
    const auto* rel = std::get_if<pg::RelTag>(&file);
    PageKind kind = PageKind::kOther;
    bool known = true;
    uint32_t remote_nblocks = 0;
    std::string name;
    if (rel != nullptr) {
      if (rel->forknum == pg::Fork::kFsm) return {};
      const RelKey key{rel->spcnode, rel->dbnode, rel->relnode};
      const auto facts = catalog_.find(key);
      known = facts != catalog_.end();
      if (known && facts->second.persistence == 'u' && rel->forknum != pg::Fork::kInit) return {};
      if (known) kind = facts->second.kind;
      name = known ? facts->second.name : "in no catalog";
      if (!remote_.contains(key)) {
        HELIUM_ASSIGN(remote_[key], life_.source()->rel_info(key.spcnode, key.dbnode, key.relnode, lsn_));
      }
      remote_nblocks = remote_[key][static_cast<size_t>(rel->forknum)].value_or(0);
    } else {
      remote_nblocks = slru_pages_[std::get<pg::SlruSegment>(file)];
    }

    std::vector<uint32_t> blknos;
    life_.cache()->visit_blocks(file, [&](const vfs::CachedBlock& block) {
      const bool here = block.state == vfs::BlockState::kPresent || block.state == vfs::BlockState::kZero;
      if (!here || block.blkno >= remote_nblocks) return;  // the tail was looked at with the sizes
      if (!known && block.written) {
        report_.blocks_unclassified++;
        return;
      }
      blknos.push_back(block.blkno);
    });
    for (size_t at = 0; at < blknos.size(); at += kFetchBatch) {
      compare_blocks(file, kind, name, {blknos.begin() + static_cast<ptrdiff_t>(at),
                                        blknos.begin() + static_cast<ptrdiff_t>(std::min(blknos.size(), at + kFetchBatch))});
    }
    return {};
  }

  void compare_blocks(const vfs::BlockFile& file, PageKind kind, const std::string& name, std::vector<uint32_t> blknos) {
    std::mutex mutex;
    std::condition_variable all_there;
    std::map<uint32_t, Result<Bytes>> remote;
    const size_t wanted = blknos.size();
    life_.source()->get_pages(file, blknos, lsn_, [&](uint32_t blkno, Result<ByteView> page) {
      const std::lock_guard lock(mutex);
      if (page) {
        remote.emplace(blkno, Bytes(page->begin(), page->end()));
      } else {
        remote.emplace(blkno, fail(std::move(page).error()));
      }
      if (remote.size() == wanted) all_there.notify_all();
    });
    {
      std::unique_lock lock(mutex);
      all_there.wait(lock, [&] { return remote.size() == wanted; });
    }
    for (const auto& [blkno, page] : remote) {
      const auto* rel = std::get_if<pg::RelTag>(&file);
      const auto what = [&] {
        return rel != nullptr ? block_name(*rel, name, blkno)
                              : fmt::format("{} page {}", to_string(std::get<pg::SlruSegment>(file)), blkno);
      };
      progress_.blocks_done++;
      (rel != nullptr ? report_.blocks_compared : report_.slru_pages_compared)++;
      if (rel != nullptr) report_.blocks_by_fork[static_cast<size_t>(rel->forknum)]++;
      if (!page) {
        differ(what(), "error", page.error().message);
        continue;
      }
      const Result<Bytes> local = life_.cache()->read_block(file, blkno);
      if (!local) continue;  // truncated or removed meanwhile
      const auto difference = rel != nullptr ? compare_relation_pages(*rel, blkno, kind, *local, *page)
                                             : compare_slru_pages(*local, *page);
      if (!difference) continue;
      if (rel != nullptr && is_map_of_copied_table(*rel, kind, *local, *page)) {
        report_.copied_maps++;
        continue;
      }
      differ(what(), difference->kind,
             fmt::format("first at byte {}: {:02x} here, {:02x} at the pageserver", difference->offset,
                         static_cast<unsigned>((*local)[difference->offset]),
                         static_cast<unsigned>((*page)[difference->offset])));
    }
  }

  ComputeLife& life_;
  const Catalog& catalog_;
  const Lsn lsn_;
  VerifyReport& report_;
  VerifyProgress& progress_;
  std::map<RelKey, vfs::ForkSizes> remote_;
  std::map<pg::SlruSegment, uint32_t> slru_pages_;
};

}  // namespace

Result<VerifyReport> verify_pages(ComputeLife& life, const EndpointSpec& spec, VerifyProgress& progress) {
  VerifyReport report;
  for (uint64_t round = 1;; ++round) {
    report = VerifyReport{};
    report.rounds = round;
    progress.round = round;
    HELIUM_ASSIGN(const Catalog catalog, read_catalog(spec));
    HELIUM_ASSIGN(PgConnection connection, PgConnection::connect(spec.pg_address, "postgres"));
    HELIUM_TRY(connection.query("CHECKPOINT"));
    report.lsn = life.shipped_lsn();
    HELIUM_TRY(life.proposer()->wait_commit(report.lsn, kCommitPatience));
    HELIUM_TRY(Round(life, catalog, report.lsn, report, progress).run());
    if (report.differences.empty() || round == kRoundsMax) return report;
    std::this_thread::sleep_for(kBetweenRounds);
  }
}

std::string to_json(const VerifyReport& report) {
  nlohmann::json shown = nlohmann::json::array();
  for (size_t i = 0; i < std::min(report.differences.size(), kDifferencesShown); ++i) {
    const VerifyReport::Difference& difference = report.differences[i];
    shown.push_back({{"what", difference.what}, {"kind", difference.kind}, {"detail", difference.detail}});
  }
  return nlohmann::json{
      {"same", report.differences.empty()},
      {"lsn", to_string(report.lsn)},
      {"rounds", report.rounds},
      {"relations", report.relations},
      {"fork_sizes_compared", report.fork_sizes_compared},
      {"blocks_compared", report.blocks_compared},
      {"blocks_by_fork",
       {{"main", report.blocks_by_fork[static_cast<size_t>(pg::Fork::kMain)]},
        {"vm", report.blocks_by_fork[static_cast<size_t>(pg::Fork::kVm)]},
        {"init", report.blocks_by_fork[static_cast<size_t>(pg::Fork::kInit)]}}},
      {"slru_pages_compared", report.slru_pages_compared},
      {"slru_segments_compared", report.slru_segments_compared},
      {"unlogged_tail_blocks", report.unlogged_tail_blocks},
      {"unlogged_relations", report.unlogged_relations},
      {"copied_maps", report.copied_maps},
      {"blocks_unclassified", report.blocks_unclassified},
      {"differences", report.differences.size()},
      {"first_differences", shown},
  }.dump();
}

}  // namespace helium::compute
