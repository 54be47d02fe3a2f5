#include "pageserver/wal_receiver.h"

#include <algorithm>

#include "base/log.h"
#include "pageserver/format.h"

namespace helium::pageserver {

using walclient::WalFeed;

WalReceiver::WalReceiver(std::shared_ptr<Timeline> timeline) : timeline_(std::move(timeline)) {}

WalReceiver::~WalReceiver() { stop(); }

void WalReceiver::on_progress(const HostPort& safekeeper, Lsn commit_lsn) {
  std::lock_guard lock(mutex_);
  sources_.on_progress(safekeeper, commit_lsn);
  wake_locked();
}

void WalReceiver::on_hint(const HostPort& safekeeper, Lsn upto) {
  std::lock_guard lock(mutex_);
  sources_.on_hint(safekeeper, upto, Clock::now());
  wake_locked();
}

void WalReceiver::wake_locked() {
  if (stopping_) return;
  if (!thread_.joinable() && sources_.choose(timeline_->last_record_lsn(), Clock::now()))
    thread_ = std::thread([this] { run(); });
  changed_.notify_all();
}

void WalReceiver::stop() {
  std::thread thread;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (feed_) feed_->stop();
    changed_.notify_all();
    thread.swap(thread_);
  }
  if (thread.joinable()) thread.join();
}

std::vector<HostPort> WalReceiver::known_sources() const {
  std::lock_guard lock(mutex_);
  return sources_.known();
}

std::string WalReceiver::source() const {
  std::lock_guard lock(mutex_);
  return current_ ? to_string(*current_) : "";
}

std::optional<HostPort> WalReceiver::next_source() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto now = Clock::now();
    if (auto source = sources_.choose(timeline_->last_record_lsn(), now, timeline_->wanted_lsn())) return source;
    // Not for long: nobody tells when a reader begins to wait.
    changed_.wait_until(lock, std::min(sources_.next_change(now).value_or(now + kLook), now + kLook));
  }
  return std::nullopt;
}

void WalReceiver::run() {
  std::string last_error;
  while (auto source = next_source()) {
    auto done = stream(*source);
    std::lock_guard lock(mutex_);
    feed_.reset();
    current_.reset();
    if (stopping_) return;
    if (done) continue;  // left for a better source
    sources_.on_failure(*source, Clock::now());
    const Error error = std::move(done).error();
    timeline_->set_ingest_error("from " + to_string(*source) + ": " + error.message);
    if (error.message == last_error) continue;  // said already
    last_error = error.message;
    const bool is_damage = error.code == ErrorCode::kCorrupt || error.code == ErrorCode::kRedo;
    log::write(is_damage ? log::Level::kError : log::Level::kInfo, "WAL stream ended",
               {{"timeline", to_string(timeline_->id())},
                {"safekeeper", to_string(*source)},
                {"lsn", timeline_->last_record_lsn()},
                {"error", error}});
  }
}

Status WalReceiver::stream(const HostPort& source) {
  HELIUM_ASSIGN(const Lsn start, timeline_->start_ingest());
  HELIUM_ASSIGN(std::unique_ptr<WalFeed> connected,
                WalFeed::connect(source, timeline_->id(), start, std::chrono::seconds(3)));
  std::shared_ptr<WalFeed> feed(std::move(connected));
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return fail(ErrorCode::kCanceled, "stopping");
    feed_ = feed;
    current_ = source;
  }
  log::info("WAL stream started",
            {{"timeline", to_string(timeline_->id())}, {"safekeeper", to_string(source)}, {"lsn", start}});

  pg::WalStreamDecoder decoder(start, timeline_->pg_version());
  bool history_agrees = false;
  bool healthy = false;
  auto last_event = Clock::now();
  auto last_wal = last_event;
  auto last_feedback = last_event;
  while (true) {
    auto event = feed->next(std::chrono::milliseconds(500));
    const auto now = Clock::now();
    if (!event && event.error().code != ErrorCode::kTimeout) return fail(std::move(event).error());
    if (event) {
      last_event = now;
      if (const auto* history = std::get_if<WalFeed::History>(&*event)) {
        HELIUM_ASSIGN(history_agrees, timeline_->announce_history(history->entries));
      } else if (const auto* wal = std::get_if<WalFeed::Wal>(&*event)) {
        if (!history_agrees) return fail(ErrorCode::kCorrupt, "WAL came before a term history that agrees with ours");
        HELIUM_TRY(on_wal(decoder, *wal));
        last_wal = Clock::now();
      }
      if (!healthy && history_agrees) {
        healthy = true;
        timeline_->set_ingest_error("");
        std::lock_guard lock(mutex_);
        sources_.on_success(source);
      }
    } else if (now - last_event > kSilence) {
      return fail(ErrorCode::kTimeout, "the safekeeper has been silent for 6 s");
    }
    if (now - last_feedback > std::chrono::milliseconds(200)) {
      last_feedback = now;
      HELIUM_TRY(feed->feedback(timeline_->last_record_lsn(), timeline_->disk_consistent_lsn()));
    }
    if (now - last_wal > std::chrono::seconds(2)) {
      // Two seconds without WAL, while another source has clearly more: leave.
      std::lock_guard lock(mutex_);
      if (sources_.should_switch(source, timeline_->last_record_lsn(), now)) return {};
      if (now - last_wal > kIdle && !sources_.choose(timeline_->last_record_lsn(), now, timeline_->wanted_lsn())) {
        log::info("WAL stream ended for now: nothing comes", {{"timeline", to_string(timeline_->id())},
                                                              {"lsn", timeline_->last_record_lsn()}});
        return {};
      }
    }
  }
}

Status WalReceiver::on_wal(pg::WalStreamDecoder& decoder, const WalFeed::Wal& wal) {
  if (wal.start != decoder.fed_lsn())
    return fail(ErrorCode::kCorrupt, fmt::format("WAL from {} came, {} is next", wal.start, decoder.fed_lsn()));
  decoder.feed(wal.bytes);
  while (true) {
    HELIUM_ASSIGN(const auto record, decoder.next());
    if (!record) break;
    HELIUM_TRY(timeline_->ingest(*record));
    HELIUM_TRY(timeline_->freeze_if_due(Clock::now()));
  }
  return {};
}

}  // namespace helium::pageserver
