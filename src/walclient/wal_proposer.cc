#include "walclient/wal_proposer.h"

#include <fmt/format.h>

#include "base/log.h"
#include "walclient/wal_proposer_impl.h"

namespace helium::walclient {

// -- news for everybody -------------------------------------------------------------------------------------------------

void WalProposer::Impl::tell_commit() {
  const std::lock_guard tell_lock(tell_mutex);
  Lsn commit;
  {
    const std::lock_guard lock(mutex_);
    commit = core.commit_lsn();
  }
  if (commit <= told_commit) return;
  told_commit = commit;
  if (options.on_commit) options.on_commit(commit);
}

void WalProposer::Impl::check_fenced() {
  if (fenced || !core.fenced_by()) return;
  fenced = true;
  wake_all();
  log::info("fenced: a later term exists", {{"timeline", to_string(options.timeline)},
                                            {"term", core.term()},
                                            {"newer_term", *core.fenced_by()}});
  if (options.on_fenced) {
    fence_thread = std::thread([tell = options.on_fenced, term = *core.fenced_by()] { tell(term); });
  }
}

// -- the interface ------------------------------------------------------------------------------------------------------

WalProposer::WalProposer(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}

WalProposer::~WalProposer() {
  stop();
  if (impl_->fence_thread.joinable()) impl_->fence_thread.join();
}

Result<WalProposer::Elected> WalProposer::elect(Timeout timeout) { return impl_->elect(timeout); }

void WalProposer::append(Lsn start, ByteView whole_records) {
  std::unique_lock lock(impl_->mutex_);
  CHECK(impl_->fenced || impl_->stopping || start == impl_->buffer.end());
  while (!whole_records.empty()) {
    impl_->changed.wait(lock, [&] {
      return impl_->stopping || impl_->fenced || impl_->buffer.room(impl_->core.commit_lsn()) > 0;
    });
    if (impl_->stopping || impl_->fenced) return;
    const size_t room = impl_->buffer.room(impl_->core.commit_lsn());
    const ByteView part = whole_records.first(std::min(whole_records.size(), room));
    const Lsn part_start = impl_->buffer.end();
    impl_->buffer.append(part);
    whole_records = whole_records.subspan(part.size());
    impl_->send_at_once(part_start, part, lock);
  }
}

Lsn WalProposer::commit_lsn() const {
  const std::lock_guard lock(impl_->mutex_);
  return impl_->core.commit_lsn();
}

Status WalProposer::wait_commit(Lsn lsn, Timeout timeout) {
  std::unique_lock lock(impl_->mutex_);
  const bool ended = impl_->changed.wait_for(
      lock, timeout, [&] { return impl_->stopping || impl_->fenced || impl_->core.commit_lsn() >= lsn; });
  if (impl_->core.commit_lsn() >= lsn) return {};
  if (!ended) return fail(ErrorCode::kTimeout, fmt::format("{} is not committed in time", to_string(lsn)));
  if (impl_->fenced) return fail(ErrorCode::kFenced, "another compute holds a later term");
  return fail(ErrorCode::kCanceled, "the proposer was stopped");
}

std::vector<WalProposer::SafekeeperState> WalProposer::safekeepers() const {
  const std::lock_guard lock(impl_->mutex_);
  std::vector<SafekeeperState> states;
  for (const auto& peer : impl_->peers) {
    if (peer->removed) continue;
    states.push_back({peer->safekeeper.id, peer->safekeeper.address, peer->streaming, peer->flush_lsn});
  }
  return states;
}

TermHistory WalProposer::term_history() const {
  const std::lock_guard lock(impl_->mutex_);
  return impl_->core.history();
}

void WalProposer::stop() {
  {
    const std::lock_guard lock(impl_->mutex_);
    impl_->stopping = true;
    for (const auto& peer : impl_->peers) {
      if (peer->socket) peer->socket->shutdown();
    }
    impl_->wake_all();
  }
  for (const auto& peer : impl_->peers) {
    if (peer->thread.joinable()) peer->thread.join();
  }
}

}  // namespace helium::walclient
