// WalReceiver: brings one timeline's WAL from a safekeeper, for ever.
//
// A thread of its own, started with the first news that there is WAL to fetch. It streams committed WAL from the end
// of the last record, checks the stream's term history (rule 6), takes records apart and gives them to the timeline,
// and tells the safekeeper how far the timeline is, in memory and on disk. A source that fails, falls silent or lags
// is left for another (wal_sources.h). A stream that brought nothing for a minute ends when nobody has more, so that idle
// timelines cost safekeepers no connections; it begins again with the first news of WAL, or when a reader waits for some.
// Ingest that waits for the disk stops reading: the safekeeper keeps the WAL.
// Errors are logged here, once per failed stream, and shown as the timeline's ingest error until WAL flows again.
// Threads: all functions are safe from any thread and do not block, but stop(), which waits for the thread.

#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "io/net.h"
#include "pageserver/timeline.h"
#include "pageserver/wal_sources.h"
#include "walclient/wal_feed.h"

namespace helium::pageserver {

class WalReceiver {
 public:
  static constexpr std::chrono::seconds kSilence{6};  // keepalives come every second
  static constexpr std::chrono::seconds kIdle{60};
  static constexpr std::chrono::seconds kLook{1};     // for readers that wait, so often

  explicit WalReceiver(std::shared_ptr<Timeline> timeline);
  ~WalReceiver();  // stops

  void on_progress(const HostPort& safekeeper, Lsn commit_lsn);
  void on_hint(const HostPort& safekeeper, Lsn upto);
  void stop();

  // Safekeepers known for this timeline, the one that has the most WAL first.
  std::vector<HostPort> known_sources() const;
  // "127.0.0.1:5454", or empty when nothing is streamed.
  std::string source() const;

 private:
  void wake_locked();
  void run();
  // Waits until there is something to fetch; nothing when stopping.
  std::optional<HostPort> next_source();
  Status stream(const HostPort& source);
  Status on_wal(pg::WalStreamDecoder& decoder, const walclient::WalFeed::Wal& wal);

  const std::shared_ptr<Timeline> timeline_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  WalSources sources_;
  bool stopping_ = false;
  std::shared_ptr<walclient::WalFeed> feed_;  // while streaming, so that stop() can end it
  std::optional<HostPort> current_;
  std::thread thread_;
};

}  // namespace helium::pageserver
