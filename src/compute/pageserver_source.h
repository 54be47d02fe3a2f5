// PageserverSource: the cache's way to the pageserver (vfs::PageSource), with a warm start.
//
// Every read names two LSNs. read_lsn is this compute's own highest shipped position, never "the newest", which could
// be a successor's page. not_modified_since is what the cache knows about the blocks, but never below the position X
// that the compute started at: a pageserver that has just restarted may have fallen behind X again.
//
// Prewarm: the first connection of a fresh PostgreSQL reads the same catalogs each time, one block after the other.
// prewarm() asks for all of them at once while PostgreSQL is still starting; an answer is kept until the block is asked
// for, at most once, and only for reads that need nothing newer than X. What is left is dropped by drop_prewarmed().
//
// Ownership: the client outlives it. Errors: as vfs::PageSource. Threads: any.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "base/lsn.h"
#include "compute/page_client.h"
#include "vfs/page_source.h"

namespace helium::compute {

// The end of the last record that may lie before an insert position of PostgreSQL (GetXLogInsertRecPtr).
Lsn record_end_at_or_before(Lsn insert_position);

class PageserverSource : public vfs::PageSource {
 public:
  struct Options {
    PageClient* client = nullptr;
    Lsn start_lsn;                     // X
    std::function<Lsn()> shipped_lsn;  // own highest position; may be below X
  };
  struct Metrics {
    uint64_t pages_fetched = 0;
    uint64_t page_errors = 0;
    uint64_t prewarm_pages = 0;  // fetched ahead
    uint64_t prewarm_hits = 0;   // of those, asked for
  };

  explicit PageserverSource(Options options) : options_(std::move(options)) {}

  Result<vfs::ForkSizes> rel_info(uint32_t spcnode, uint32_t dbnode, uint32_t relnode, Lsn not_modified_since) override;
  Result<std::vector<std::pair<pg::RelTag, uint32_t>>> list_rels(uint32_t spcnode, uint32_t dbnode) override;
  void get_pages(const vfs::BlockFile& file, std::vector<uint32_t> blknos, Lsn not_modified_since,
                 PageDone done) override;

  // Starts fetching sizes and pages of the catalogs of these databases (0: the shared ones). Returns at once.
  void prewarm(const std::vector<uint32_t>& databases);
  void drop_prewarmed();

  Metrics metrics() const;

 private:
  using BlockKey = std::pair<vfs::BlockFile, uint32_t>;
  struct RelKey {
    uint32_t spcnode, dbnode, relnode;
    auto operator<=>(const RelKey&) const = default;
  };

  wire::ReadAt read_at(Lsn not_modified_since) const;
  void fetch(const vfs::BlockFile& file, std::vector<uint32_t> blknos, Lsn not_modified_since, PageDone done,
             std::chrono::milliseconds delay = {});
  void prewarm_pages(const wire::ListRelsReply& rels);
  // Serves what is prewarmed; the rest of `blknos` stays.
  void serve_prewarmed(const vfs::BlockFile& file, std::vector<uint32_t>& blknos, const PageDone& done);

  const Options options_;
  std::atomic<uint64_t> pages_fetched_{0};
  std::atomic<uint64_t> page_errors_{0};
  std::atomic<uint64_t> prewarm_pages_{0};
  std::atomic<uint64_t> prewarm_hits_{0};

  mutable std::mutex mutex_;
  // Guarded by mutex_. Blocks on their way have an empty value; whoever asks meanwhile waits with it.
  struct Prewarmed {
    Bytes page;  // empty: on its way
    PageDone waiter;
  };
  bool prewarming_ = false;
  std::map<BlockKey, Prewarmed> prewarmed_;
  std::map<RelKey, vfs::ForkSizes> prewarmed_sizes_;
};

}  // namespace helium::compute
