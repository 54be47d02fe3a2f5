#include "sim/reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/world.h"

namespace helium::sim {

Reader::Reader(World& world, Address address)
    : world_(world), address_(address), decoder_(World::start_of(world)), durable_(World::start_of(world)) {}

void Reader::connect() {
  node_ = &world_.any_node();
  const auto timeline = node_->timeline();
  timeline_ = timeline.get();
  if (!timeline) return;
  life_ = node_->life();
  decoder_.rewind();
  served_ = Lsn();
  history_fits_ = false;
  cursor_ = std::make_unique<safekeeper::FeedCursor>(*timeline, position(), safekeeper::FeedKind::kFeed);
}

void Reader::poll() {
  const bool alive = cursor_ && node_->up() && node_->life() == life_ && node_->timeline().get() == timeline_;
  if (!alive || world_.random.one_in(15)) {
    disconnect();
    connect();
  }
  if (!cursor_) return;
  const int node = static_cast<int>(node_->id());
  if (!world_.network.connected(node, address_) || !world_.network.connected(address_, node)) return;
  const auto item = cursor_->next();
  if (!item || !take(*item)) disconnect();
  if (world_.random.one_in(4)) {
    durable_ = position();
    durable_history_ = cut_history(history_, durable_);
  }
}

// False: this safekeeper's stream is not taken.
bool Reader::take(const safekeeper::FeedCursor::Item& item) {
  const std::string who = fmt::format("reader {} at node {}", address_, node_->id());
  if (item.commit_lsn < served_) {
    world_.truth.violated(fmt::format("{}: commit_lsn fell from {} to {}", who, to_string(served_), to_string(item.commit_lsn)));
  }
  served_ = item.commit_lsn;
  if (item.history) {
    // One that lags behind us cannot know the newest entries.
    const Lsn common = std::min(position(), item.commit_lsn);
    if (!histories_agree(history_, *item.history, common)) {
      world_.truth.violated(fmt::format("{}: its history {} disagrees with {}, before {}", who, to_string(*item.history),
                                        to_string(history_), to_string(common)));
      return false;
    }
    // As the pageserver sees it, which is not told commit_lsn with the history.
    const HistoryFit fit = fit_history(history_, position(), *item.history);
    if (fit == HistoryFit::kDisagrees) {
      world_.truth.violated(fmt::format("{}: the pageserver refuses its history {}: it has {} up to {}", who,
                                        to_string(*item.history), to_string(history_), to_string(position())));
      return false;
    }
    history_fits_ = fit == HistoryFit::kAgrees;
    if (history_fits_) history_ = *item.history;
  }
  if (!item.wal.empty() && !history_fits_) {
    world_.truth.violated(fmt::format("{}: WAL behind a history that does not agree with {}", who, to_string(history_)));
    return false;
  }
  if (item.wal.empty()) return true;
  world_.truth.reads(who, item.start, item.wal);
  if (item.start != decoder_.fed_lsn()) {
    world_.truth.violated(fmt::format("{}: it goes on at {} instead of {}", who, to_string(item.start), to_string(decoder_.fed_lsn())));
    return false;
  }
  decoder_.feed(item.wal);
  while (true) {
    const auto record = decoder_.next();
    if (!record) return false;  // damage: another one will do
    if (!*record) break;
    ++world_.figures.records_read;
  }
  if (item.start + item.wal.size() == item.commit_lsn && position() != item.commit_lsn) {
    world_.truth.violated(fmt::format("{}: commit_lsn {} is no record end", who, to_string(item.commit_lsn)));
  }
  return true;
}

void Reader::forget() {
  world_.trace("reader {} falls back to {}", address_, to_string(durable_));
  disconnect();
  decoder_ = pg::WalStreamDecoder(durable_);
  history_ = durable_history_;
}

}  // namespace helium::sim
