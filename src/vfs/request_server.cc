#include "vfs/request_server.h"

#include <errno.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>

#include "base/log.h"

namespace helium::vfs {
namespace {

constexpr uint32_t kSleepMicros = 500'000;
constexpr size_t kStreamsMax = 4096;
constexpr uint32_t kFirstWindow = 8;
constexpr uint32_t kQuestionsBeforeList = 8;

int errno_of(const Error& error) { return error.code == ErrorCode::kNoSpace ? ENOSPC : EIO; }

BlockFile block_file(const EntryKey& key) {
  if (key.kind == EntryKind::kSlruFile) return pg::SlruSegment{static_cast<pg::SlruKind>(key.sub), key.segno};
  return pg::RelTag{key.spcnode, key.dbnode, key.relnode, static_cast<pg::Fork>(key.sub)};
}
std::string name_of(const EntryKey& key) {
  char name[kCachePathMax];
  format_cache_path(path_of(key), name);
  return name;
}
// Block numbers of a fork count over its segments.
uint32_t first_blkno(const EntryKey& key) { return key.kind == EntryKind::kSlruFile ? 0 : key.segno * kSegmentBlocks; }

}  // namespace

void RequestServer::start(PageSource* source) {
  source_ = source;
  for (int i = 0; i < options_.workers; ++i) threads_.emplace_back([this] { work(); });
}

void RequestServer::stop() {
  if (threads_.empty()) return;
  stopping_.store(true);
  arena_.header().doorbell.fetch_add(1);
  futex_wake(arena_.header().doorbell, options_.workers);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  while (in_flight_calls_.load() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void RequestServer::work() {
  ArenaHeader& header = arena_.header();
  auto reaped = std::chrono::steady_clock::now();
  while (!stopping_.load()) {
    const uint32_t bell = header.doorbell.load();
    if (const auto request = take_mail()) {
      handle(*request);
      continue;
    }
    if (take_hints()) continue;
    header.workers_asleep.fetch_add(1);
    if (!stopping_.load()) futex_wait(header.doorbell, bell, kSleepMicros);
    header.workers_asleep.fetch_sub(1);
    if (const auto now = std::chrono::steady_clock::now(); now - reaped > std::chrono::seconds(2)) {
      reaped = now;
      reap_dead_processes();
      if (options_.every_two_seconds) options_.every_two_seconds();
    }
  }
}

std::optional<RequestServer::Request> RequestServer::take_mail() {
  ArenaHeader& header = arena_.header();
  const uint32_t words = (header.slots_used.load() + 63) / 64;
  for (uint32_t word = 0; word < words; ++word) {
    uint64_t bits = header.mail_bits[word].load();
    while (bits != 0) {
      const auto index = static_cast<uint32_t>(__builtin_ctzll(bits));
      const uint64_t bit = uint64_t{1} << index;
      bits &= ~bit;
      if ((header.mail_bits[word].fetch_and(~bit) & bit) == 0) continue;  // another worker has it
      const uint32_t slot_index = word * 64 + index;
      ProcessSlot& slot = arena_.slot(slot_index);
      uint32_t raw = slot.mail.load();
      const MailWord posted{raw};
      if (posted.state() != MailState::kPosted) continue;  // withdrawn; the next post rings again
      const Request request{{slot_index, posted.ticket()},
                            static_cast<MailKind>(slot.kind.load()),
                            slot.entry.load(),
                            slot.blkno.load()};
      // What we read belongs together only if the word is still the same.
      if (!slot.mail.compare_exchange_strong(raw, MailWord::make(posted.ticket(), MailState::kTaken).raw)) continue;
      if (bits != 0 && header.workers_asleep.load() != 0) futex_wake(header.doorbell, 1);
      return request;
    }
  }
  return std::nullopt;
}

bool RequestServer::take_hints() {
  ArenaHeader& header = arena_.header();
  std::map<uint32_t, std::vector<uint32_t>> by_entry;
  for (auto& place : header.hints) {
    if (place.load(std::memory_order_relaxed) == 0) continue;
    const uint64_t hint = place.exchange(0);
    const auto entry = static_cast<uint32_t>(hint >> 32);
    if (hint != 0 && entry != 0 && entry < header.entries_used.load()) by_entry[entry].push_back(static_cast<uint32_t>(hint));
  }
  for (auto& [entry, blknos] : by_entry) {
    std::vector<uint32_t> batch;
    Lsn required;
    std::sort(blknos.begin(), blknos.end());
    {
      const std::lock_guard lock(mutex_);
      for (const uint32_t blkno : blknos) add_flight(entry, blkno, batch, required, nullptr);
    }
    counters_.readahead.fetch_add(batch.size());
    issue(entry, std::move(batch), required);
  }
  return !by_entry.empty();
}

void RequestServer::reap_dead_processes() {
  const uint32_t used = arena_.header().slots_used.load();
  for (uint32_t i = 0; i < used; ++i) {
    uint32_t pid = arena_.slot(i).pid.load();
    if (pid != 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH)
      arena_.slot(i).pid.compare_exchange_strong(pid, 0);
  }
}

void RequestServer::reply(const Waiter& waiter, int error) {
  ProcessSlot& slot = arena_.slot(waiter.slot);
  uint32_t taken = MailWord::make(waiter.ticket, MailState::kTaken).raw;
  const uint32_t done = MailWord::make(waiter.ticket, MailState::kDone, static_cast<uint8_t>(error)).raw;
  if (slot.mail.compare_exchange_strong(taken, done)) futex_wake(slot.mail, 1);
}

void RequestServer::handle(const Request& request) {
  counters_.requests.fetch_add(1);
  // PostgreSQL runs user code: what it wrote into shared memory is not trusted with our own.
  if (request.entry == 0 || request.entry >= arena_.header().entries_used.load()) return reply(request.from, EINVAL);
  const EntryKind kind = arena_.entry(request.entry).key.kind;
  switch (request.kind) {
    case MailKind::kResolve:
      if (kind == EntryKind::kRelation) return make_known(request);
      break;
    case MailKind::kList:
      if (kind == EntryKind::kDatabase) return make_known(request);
      break;
    case MailKind::kFetch:
      if (kind == EntryKind::kRelFile || kind == EntryKind::kSlruFile) return fetch(request);
      break;
  }
  reply(request.from, EINVAL);
}

// --- relations and databases ---

void RequestServer::make_known(const Request& request) {
  {
    const std::lock_guard lock(mutex_);
    const auto [place, first] = becoming_known_.try_emplace(request.entry);
    place->second.push_back(request.from);
    if (!first) return;
  }
  const Status done = request.kind == MailKind::kResolve ? resolve(request.entry) : list(request.entry);
  if (!done) {
    counters_.errors.fetch_add(1);
    log::warn("cannot ask storage for relations",
              {{"database", arena_.entry(request.entry).key.dbnode}, {"relation", arena_.entry(request.entry).key.relnode},
               {"error", done.error()}});
  }
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto place = becoming_known_.find(request.entry);
    waiters = std::move(place->second);
    becoming_known_.erase(place);
  }
  for (const Waiter& waiter : waiters) reply(waiter, done ? 0 : errno_of(done.error()));
  if (request.kind == MailKind::kResolve && done) learn_database(arena_.entry(request.entry).key);
}

Result<ForkSizes> RequestServer::sizes_of(const EntryKey& relation) {
  {
    const std::lock_guard lock(mutex_);
    Learnt& learnt = learnt_[uint64_t{relation.spcnode} << 32 | relation.dbnode];
    ++learnt.questions;
    if (learnt.relations) {
      const auto known = learnt.relations->find(relation.relnode);
      return known == learnt.relations->end() ? ForkSizes{} : known->second;
    }
  }
  counters_.rel_infos.fetch_add(1);
  return source_->rel_info(relation.spcnode, relation.dbnode, relation.relnode, Lsn());
}

void RequestServer::learn_database(const EntryKey& relation) {
  {
    const std::lock_guard lock(mutex_);
    Learnt& learnt = learnt_[uint64_t{relation.spcnode} << 32 | relation.dbnode];
    if (learnt.asked || learnt.questions < kQuestionsBeforeList) return;
    learnt.asked = true;
  }
  counters_.list_rels.fetch_add(1);
  const auto rels = source_->list_rels(relation.spcnode, relation.dbnode);
  if (!rels) return;  // only a convenience: each relation is asked for by itself then
  std::unordered_map<uint32_t, ForkSizes> relations;
  for (const auto& [rel, nblocks] : *rels) relations[rel.relnode][static_cast<size_t>(rel.forknum)] = nblocks;
  const std::lock_guard lock(mutex_);
  learnt_[uint64_t{relation.spcnode} << 32 | relation.dbnode].relations = std::move(relations);
}

Status RequestServer::resolve(uint32_t index) {
  const Entry& entry = arena_.entry(index);
  if (entry.flags.load() & kFlagResolved) return {};
  HELIUM_ASSIGN(const ForkSizes sizes, sizes_of(entry.key));
  return files_.make_relation_known(index, sizes,
                                    [this](const pg::RelTag& init, uint32_t nblocks) { return init_pages(init, nblocks); });
}

Status RequestServer::list(uint32_t index) {
  Entry& database = arena_.entry(index);
  if (database.flags.load() & kFlagResolved) return {};
  counters_.list_rels.fetch_add(1);
  HELIUM_ASSIGN(const auto rels, source_->list_rels(database.key.spcnode, database.key.dbnode));
  std::map<uint32_t, ForkSizes> by_relation;
  for (const auto& [rel, nblocks] : rels) by_relation[rel.relnode][static_cast<size_t>(rel.forknum)] = nblocks;
  for (const auto& [relnode, sizes] : by_relation) {
    const uint32_t relation = arena_.find_or_add(relation_key(database.key.spcnode, database.key.dbnode, relnode));
    if (relation == 0) return fail(ErrorCode::kNoSpace, "the shared arena is full");
    HELIUM_TRY(files_.make_relation_known(
        relation, sizes, [this](const pg::RelTag& init, uint32_t nblocks) { return init_pages(init, nblocks); }));
  }
  database.flags.fetch_or(kFlagResolved);
  return {};
}

Result<Bytes> RequestServer::init_pages(const pg::RelTag& init, uint32_t nblocks) {
  struct Arrival {
    std::mutex mutex;
    std::condition_variable changed;
    uint32_t missing;
    Bytes pages;
    std::optional<Error> error;
  } arrival{.missing = nblocks, .pages = Bytes(size_t{nblocks} * kBlockSize)};
  std::vector<uint32_t> blknos(nblocks);
  for (uint32_t i = 0; i < nblocks; ++i) blknos[i] = i;
  source_->get_pages(init, blknos, Lsn(), [&arrival](uint32_t blkno, Result<ByteView> page) {
    const std::lock_guard lock(arrival.mutex);
    if (page) std::copy(page->begin(), page->end(), arrival.pages.begin() + static_cast<ptrdiff_t>(size_t{blkno} * kBlockSize));
    else if (!arrival.error) arrival.error = std::move(page).error();
    if (--arrival.missing == 0) arrival.changed.notify_one();
  });
  std::unique_lock lock(arrival.mutex);
  arrival.changed.wait(lock, [&] { return arrival.missing == 0; });
  if (arrival.error) return fail(std::move(*arrival.error).context("init fork " + pg::to_string(init)));
  return std::move(arrival.pages);
}

// --- blocks ---

uint32_t RequestServer::widen(uint32_t entry, uint32_t blkno) {
  if (streams_.size() >= kStreamsMax) streams_.clear();
  Stream& stream = streams_[entry];
  // A miss exactly where the last fetch ended is somebody reading on; any other miss starts anew.
  const bool goes_on = stream.next != 0 && blkno == stream.next;
  if (!goes_on) stream.window = 0;
  else stream.window = stream.window == 0 ? kFirstWindow : std::min(stream.window * 2, options_.readahead_blocks_max);
  stream.next = blkno + 1 + stream.window;
  return stream.window;
}

bool RequestServer::add_flight(uint32_t index, uint32_t blkno, std::vector<uint32_t>& batch, Lsn& required,
                               const Waiter* waiter) {
  Entry& entry = arena_.entry(index);
  const auto known = flights_.find(block_id(index, blkno));
  if (known != flights_.end()) {
    if (waiter != nullptr) known->second.waiters.push_back(*waiter);
    return true;
  }
  BlockCell* cell = arena_.touch_cell(entry, blkno);
  if (cell == nullptr) return false;
  const BlockWord word{cell->word.load()};
  if (!fetchable(word, side_of(blkno, entry.limit.load()))) return false;
  required = std::max(required, Lsn(cell->required_lsn.load()));
  Flight& flight = flights_[block_id(index, blkno)];
  flight.ticket = word;
  flight.started = std::chrono::steady_clock::now();
  if (waiter != nullptr) flight.waiters.push_back(*waiter);
  batch.push_back(blkno);
  return true;
}

void RequestServer::fetch(const Request& request) {
  Entry& entry = arena_.entry(request.entry);
  std::vector<uint32_t> batch;
  std::vector<uint32_t> ahead;
  Lsn required, ahead_required;
  {
    const std::lock_guard lock(mutex_);
    if (!add_flight(request.entry, request.blkno, batch, required, &request.from)) {
      // Not absent any more, or somebody is at it: the process looks again.
      return reply(request.from, arena_.cell(entry, request.blkno) == nullptr ? ENOSPC : 0);
    }
    if (batch.empty()) return;  // already on its way
    const uint32_t window = widen(request.entry, request.blkno);
    const uint32_t end = std::min(uint64_t{entry.limit.load()}, uint64_t{request.blkno} + 1 + window);
    for (uint32_t blkno = request.blkno + 1; blkno < end; ++blkno) {
      // The first few travel with the block that is waited for, the rest behind it.
      const bool near = blkno - request.blkno < kFirstWindow;
      add_flight(request.entry, blkno, near ? batch : ahead, near ? required : ahead_required, nullptr);
    }
  }
  counters_.wanted.fetch_add(1);
  counters_.readahead.fetch_add(batch.size() + ahead.size() - 1);
  issue(request.entry, std::move(batch), required);
  issue(request.entry, std::move(ahead), ahead_required);
}

void RequestServer::issue(uint32_t index, std::vector<uint32_t> batch, Lsn required) {
  if (batch.empty()) return;
  const EntryKey key = arena_.entry(index).key;
  const uint32_t base = first_blkno(key);
  for (uint32_t& blkno : batch) blkno += base;
  in_flight_calls_.fetch_add(static_cast<int>(batch.size()));
  source_->get_pages(block_file(key), std::move(batch), required,
                     [this, index, base](uint32_t blkno, Result<ByteView> page) {
                       landed(index, blkno - base, std::move(page));
                       in_flight_calls_.fetch_sub(1);
                     });
}

void RequestServer::landed(uint32_t index, uint32_t blkno, Result<ByteView> page) {
  BlockWord ticket;
  {
    const std::lock_guard lock(mutex_);
    const auto flight = flights_.find(block_id(index, blkno));
    if (flight == flights_.end()) return;
    ticket = flight->second.ticket;
  }
  Status outcome;
  if (!page) {
    outcome = fail(std::move(page).error());
  } else if (page->size() != kBlockSize) {
    outcome = fail(ErrorCode::kCorrupt, "storage sent a page of " + std::to_string(page->size()) + " bytes");
  } else if (auto filled = files_.fill(index, blkno, ticket, *page); !filled) {
    outcome = fail(std::move(filled).error());
  } else {
    (*filled == FillOutcome::kFilled ? counters_.filled : counters_.fills_void).fetch_add(1);
  }
  std::vector<Waiter> waiters;
  {
    const std::lock_guard lock(mutex_);
    const auto flight = flights_.find(block_id(index, blkno));
    waiters = std::move(flight->second.waiters);
    const auto took = std::chrono::steady_clock::now() - flight->second.started;
    counters_.micros.fetch_add(waiters.size() * static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
    flights_.erase(flight);
  }
  if (!outcome) {
    counters_.errors.fetch_add(1);
    // Read ahead for nobody: whoever comes for the block will ask again and hear of it.
    if (!waiters.empty() && outcome.error().code != ErrorCode::kCanceled)
      log::warn("cannot fetch block", {{"file", name_of(arena_.entry(index).key)}, {"blkno", blkno}, {"error", outcome.error()}});
  }
  for (const Waiter& waiter : waiters) reply(waiter, outcome ? 0 : errno_of(outcome.error()));
}

void RequestServer::add_metrics(CacheMetrics& metrics) const {
  metrics.requests = counters_.requests.load();
  metrics.rel_infos = counters_.rel_infos.load();
  metrics.list_rels = counters_.list_rels.load();
  metrics.blocks_wanted = counters_.wanted.load();
  metrics.blocks_readahead = counters_.readahead.load();
  metrics.blocks_filled = counters_.filled.load();
  metrics.fills_void = counters_.fills_void.load();
  metrics.fetch_errors = counters_.errors.load();
  metrics.wait_micros = counters_.micros.load();
}

}  // namespace helium::vfs
