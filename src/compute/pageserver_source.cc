#include "compute/pageserver_source.h"

#include <algorithm>

#include "pg/constants.h"

namespace helium::compute {
namespace {

// What a new connection and a first simple query read, by the relfilenodes that initdb gives (they are the oids; a
// catalog that was rewritten since just starts cold). The big ones that neither touches (pg_proc, pg_depend,
// pg_description, …) would only take the pageserver's and PostgreSQL's time from the start.
// Source: PostgreSQL 15 catalog headers; seen with a cold cache after "SELECT 1".
constexpr uint32_t kHotCatalogs[] = {
    1260, 2676, 2677,              // pg_authid
    1261, 2694, 2695,              // pg_auth_members
    1262, 2671, 2672,              // pg_database
    2964, 2965,                    // pg_db_role_setting
    1247, 2703, 2704,              // pg_type
    1249, 2658, 2659,              // pg_attribute
    1259, 2662, 2663,              // pg_class
    2601, 2651, 2652,              // pg_am
    2602, 2653, 2654, 2756,        // pg_amop
    2603, 2655, 2757,              // pg_amproc
    2610, 2678, 2679,              // pg_index
    2615, 2684, 2685,              // pg_namespace
    2616, 2686, 2687,              // pg_opclass
    2617, 2688, 2689,              // pg_operator
    2690,                          // pg_proc_oid_index
    2696,                          // pg_statistic's index
};
// Catalogs are small; one that grew beyond this is not worth fetching as a whole.
constexpr uint32_t kPrewarmBlocksMax = 256;

constexpr std::chrono::milliseconds kRetryDelayMin{20};
constexpr std::chrono::milliseconds kRetryDelayMax{1000};

bool time_may_cure(ErrorCode code) {
  return code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout || code == ErrorCode::kCanceled;
}

}  // namespace

// PostgreSQL's insert position steps over the header of a page that nobody has written to yet; the last record before
// it ends at the page's start, and that is what the pageserver can have.
Lsn record_end_at_or_before(Lsn insert_position) {
  const uint32_t offset = pg::wal_page_offset(insert_position);
  if (offset == 0 || offset > pg::wal_page_header_size(insert_position)) return insert_position;
  return Lsn(insert_position.bytes() - offset);
}

wire::ReadAt PageserverSource::read_at(Lsn not_modified_since) const {
  const Lsn needed = std::max(record_end_at_or_before(not_modified_since), options_.start_lsn);
  return {std::max(needed, options_.shipped_lsn()), needed};
}

Result<vfs::ForkSizes> PageserverSource::rel_info(uint32_t spcnode, uint32_t dbnode, uint32_t relnode,
                                                  Lsn not_modified_since) {
  if (not_modified_since <= options_.start_lsn) {
    const std::lock_guard lock(mutex_);
    if (const auto it = prewarmed_sizes_.find({spcnode, dbnode, relnode}); it != prewarmed_sizes_.end()) {
      return it->second;
    }
  }
  HELIUM_ASSIGN(const auto reply, options_.client->call<wire::RelInfoReply>(
                                      wire::RelInfoRequest{0, spcnode, dbnode, relnode, read_at(not_modified_since)}));
  return reply.nblocks;
}

Result<std::vector<std::pair<pg::RelTag, uint32_t>>> PageserverSource::list_rels(uint32_t spcnode, uint32_t dbnode) {
  HELIUM_ASSIGN(const auto reply, options_.client->call<wire::ListRelsReply>(
                                      wire::ListRelsRequest{0, spcnode, dbnode, read_at(Lsn())}));
  std::vector<std::pair<pg::RelTag, uint32_t>> rels;
  rels.reserve(reply.rels.size());
  for (const wire::RelSize& size : reply.rels) rels.emplace_back(size.rel, size.nblocks);
  return rels;
}

void PageserverSource::get_pages(const vfs::BlockFile& file, std::vector<uint32_t> blknos, Lsn not_modified_since,
                                 PageDone done) {
  if (not_modified_since <= options_.start_lsn) serve_prewarmed(file, blknos, done);
  for (size_t at = 0; at < blknos.size(); at += wire::kMaxPagesPerRequest) {
    const size_t end = std::min<size_t>(blknos.size(), at + wire::kMaxPagesPerRequest);
    fetch(file, {blknos.begin() + static_cast<ptrdiff_t>(at), blknos.begin() + static_cast<ptrdiff_t>(end)},
          not_modified_since, done);
  }
}

void PageserverSource::fetch(const vfs::BlockFile& file, std::vector<uint32_t> blknos, Lsn not_modified_since,
                             PageDone done, std::chrono::milliseconds delay) {
  wire::GetPagesRequest request{0, file, read_at(not_modified_since), blknos};
  options_.client->send(
      std::move(request),
      [this, file, blknos = std::move(blknos), not_modified_since, done = std::move(done),
       delay](Result<const wire::ServerMessage*> message) {
        const wire::GetPagesReply* reply = message ? std::get_if<wire::GetPagesReply>(*message) : nullptr;
        if (reply == nullptr || reply->pages.size() != blknos.size()) {
          const Error error = message ? Error{ErrorCode::kCorrupt, "the pageserver's answer does not fit the request"}
                                      : message.error();
          page_errors_.fetch_add(blknos.size(), std::memory_order_relaxed);
          for (const uint32_t blkno : blknos) done(blkno, fail(error));
          return;
        }
        std::vector<uint32_t> again;
        for (size_t i = 0; i < blknos.size(); ++i) {
          const wire::PageAnswer& answer = reply->pages[i];
          if (!answer.error) {
            pages_fetched_.fetch_add(1, std::memory_order_relaxed);
            done(blknos[i], answer.page);
          } else if (time_may_cure(answer.error->code)) {
            again.push_back(blknos[i]);
          } else {
            page_errors_.fetch_add(1, std::memory_order_relaxed);
            done(blknos[i], fail(*answer.error));
          }
        }
        if (again.empty()) return;
        fetch(file, std::move(again), not_modified_since, done, std::clamp(delay * 2, kRetryDelayMin, kRetryDelayMax));
      },
      delay);
}

// ---- prewarm

void PageserverSource::serve_prewarmed(const vfs::BlockFile& file, std::vector<uint32_t>& blknos,
                                       const PageDone& done) {
  std::vector<std::pair<uint32_t, Bytes>> served;
  {
    const std::lock_guard lock(mutex_);
    if (prewarmed_.empty()) return;
    std::erase_if(blknos, [&](uint32_t blkno) {
      const auto it = prewarmed_.find({file, blkno});
      if (it == prewarmed_.end() || it->second.waiter) return false;
      prewarm_hits_.fetch_add(1, std::memory_order_relaxed);
      if (it->second.page.empty()) {
        it->second.waiter = done;
      } else {
        served.emplace_back(blkno, std::move(it->second.page));
        prewarmed_.erase(it);
      }
      return true;
    });
  }
  for (const auto& [blkno, page] : served) done(blkno, ByteView(page));
}

void PageserverSource::prewarm(const std::vector<uint32_t>& databases) {
  {
    const std::lock_guard lock(mutex_);
    prewarming_ = true;
  }
  for (const uint32_t database : databases) {
    const uint32_t tablespace = database == 0 ? pg::kGlobalTablespace : pg::kDefaultTablespace;
    options_.client->send(wire::ListRelsRequest{0, tablespace, database, read_at(Lsn())},
                          [this](Result<const wire::ServerMessage*> message) {
                            if (!message) return;  // a warm start is a favour; whoever needs a page asks for it
                            if (const auto* rels = std::get_if<wire::ListRelsReply>(*message)) prewarm_pages(*rels);
                          });
  }
}

void PageserverSource::prewarm_pages(const wire::ListRelsReply& rels) {
  std::vector<std::pair<pg::RelTag, uint32_t>> wanted;
  {
    const std::lock_guard lock(mutex_);
    if (!prewarming_) return;
    for (const wire::RelSize& size : rels.rels) {
      prewarmed_sizes_[{size.rel.spcnode, size.rel.dbnode, size.rel.relnode}][static_cast<size_t>(size.rel.forknum)] =
          size.nblocks;
      if (size.rel.forknum != pg::Fork::kMain || size.nblocks == 0 || size.nblocks > kPrewarmBlocksMax) continue;
      if (std::ranges::find(kHotCatalogs, size.rel.relnode) == std::end(kHotCatalogs)) continue;
      wanted.emplace_back(size.rel, size.nblocks);
      for (uint32_t blkno = 0; blkno < size.nblocks; ++blkno) prewarmed_.try_emplace({size.rel, blkno});
    }
  }
  for (const auto& [rel, nblocks] : wanted) {
    std::vector<uint32_t> blknos(nblocks);
    for (uint32_t blkno = 0; blkno < nblocks; ++blkno) blknos[blkno] = blkno;
    const auto keep = [this, rel = rel](uint32_t blkno, Result<ByteView> page) {
      PageDone waiter;
      {
        const std::lock_guard lock(mutex_);
        const auto it = prewarmed_.find({rel, blkno});
        if (it == prewarmed_.end()) return;
        prewarm_pages_.fetch_add(1, std::memory_order_relaxed);
        waiter = std::move(it->second.waiter);
        if (waiter || !page || !prewarming_) {
          prewarmed_.erase(it);
        } else {
          it->second.page.assign(page->begin(), page->end());
        }
      }
      if (waiter) waiter(blkno, std::move(page));
    };
    for (size_t at = 0; at < blknos.size(); at += wire::kMaxPagesPerRequest) {
      const size_t end = std::min<size_t>(blknos.size(), at + wire::kMaxPagesPerRequest);
      fetch(rel, {blknos.begin() + static_cast<ptrdiff_t>(at), blknos.begin() + static_cast<ptrdiff_t>(end)}, Lsn(),
            keep);
    }
  }
}

void PageserverSource::drop_prewarmed() {
  const std::lock_guard lock(mutex_);
  prewarming_ = false;
  prewarmed_sizes_.clear();
  // A block on its way stays until its answer comes: somebody may wait for it.
  std::erase_if(prewarmed_, [](const auto& entry) { return !entry.second.page.empty(); });
}

PageserverSource::Metrics PageserverSource::metrics() const {
  return {pages_fetched_.load(), page_errors_.load(), prewarm_pages_.load(), prewarm_hits_.load()};
}

}  // namespace helium::compute
