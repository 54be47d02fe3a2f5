// Verification: one timeline checked on request, while it goes on serving.
//
// Two parts, either of which can be left out:
//   records  the timeline's WAL is read once more from a safekeeper (which has it back from the object store where need
//            be), and each check image in it (wal_consistency_checking) is compared with the page that we give at that
//            record's end (oracle.h)
//   pages    every page at the end of the range is rebuilt and looked at (page_check.h)
// A branch is verified from its branch point on; what lies before is its ancestor's.
//
// Verifications owns them: one at a time per timeline, on a thread of its own; the last one's report is kept.
// Errors of start(): kNotFound, kExists (one is at work), kLsnTooOld, kLsnInFuture, kInvalid. An error on the way ends
// it as failed, with what was found until then. Threads: safe from any.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/ids.h"
#include "pageserver/oracle.h"
#include "pageserver/page_check.h"
#include "pageserver/tenants.h"

namespace helium::pageserver {

struct VerifyRequest {
  std::optional<Lsn> from_lsn;  // none: the timeline's start; rounded down to a WAL position
  std::optional<Lsn> to_lsn;    // none: last_record_lsn
  bool records = true;
  bool pages = true;
  std::vector<HostPort> safekeepers;  // that have the WAL, besides those that the broker told of
};

struct VerifyState {
  enum class Phase : uint8_t { kRecords, kPages, kDone, kFailed, kCanceled };
  Phase phase = Phase::kRecords;
  std::string error;
  VerifyRequest request;
  Lsn from_lsn, to_lsn;
  uint64_t done = 0, all = 0;  // of the phase: bytes of WAL, or pages
  uint64_t records_read = 0;
  uint64_t wal_bytes_read = 0;
  std::map<std::string, Oracle::Count> records;
  std::vector<Oracle::Difference> record_differences;
  PageFindings pages;  // while pages are looked at: not yet
};

class Verification {
 public:
  Verification(std::shared_ptr<Timeline> timeline, std::vector<HostPort> sources, VerifyRequest request, Lsn from_lsn,
               Lsn to_lsn, std::shared_ptr<Metrics> metrics);
  ~Verification();  // cancels

  VerifyState state() const;
  bool is_running() const;
  void cancel();

 private:
  void run();
  Status check_records();
  Status read_from(const HostPort& source, Lsn& at);
  Status check_pages();

  const std::shared_ptr<Timeline> timeline_;
  const std::vector<HostPort> sources_;
  const VerifyRequest request_;
  const Lsn from_lsn_, to_lsn_;
  Oracle oracle_;
  std::atomic<bool> canceled_{false};

  mutable std::mutex mutex_;
  VerifyState state_;  // without what oracle_ has
  std::thread thread_;
};

class Verifications {
 public:
  Verifications(Tenants& tenants, std::shared_ptr<Metrics> metrics) : tenants_(tenants), metrics_(std::move(metrics)) {}

  Status start(const TenantTimelineId& id, const VerifyRequest& request);
  // kNotFound: none was started.
  Result<VerifyState> state(const TenantTimelineId& id) const;
  Status cancel(const TenantTimelineId& id);
  void stop();  // cancels all

 private:
  Result<std::shared_ptr<Verification>> find(const TenantTimelineId& id) const;

  Tenants& tenants_;
  const std::shared_ptr<Metrics> metrics_;
  mutable std::mutex mutex_;
  std::map<TenantTimelineId, std::shared_ptr<Verification>> verifications_;
};

}  // namespace helium::pageserver
