#include "sim/truth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"

namespace helium::sim {

bool Truth::same(const Bytes& a, const Bytes& b, size_t from, size_t to) const {
  return to <= a.size() && to <= b.size() && (from >= to || std::memcmp(a.data() + from, b.data() + from, to - from) == 0);
}

void Truth::term_begins(uint64_t term, uint64_t parent, Bytes log) {
  if (logs_.contains(term)) return violated(fmt::format("term {} has two winners", term));
  if (!logs_.contains(parent)) return violated(fmt::format("term {} goes on from term {}, which nobody won", term, parent));
  const Lsn x = start_ + log.size();
  for (const auto& [earlier, known] : logs_) {
    if (earlier < term && !same(log, known.bytes, 0, known.committed)) {
      violated(fmt::format("term {} starts at {} without WAL up to {}, committed in term {}", term, to_string(x),
                           to_string(start_ + known.committed), earlier));
    }
  }
  Log next;
  for (const Lsn end : logs_.at(parent).ends) {
    if (end <= x) next.ends.insert(end);
  }
  if (!next.ends.contains(x)) violated(fmt::format("term {} starts at {}, which is no record end", term, to_string(x)));
  next.bytes = std::move(log);
  logs_[term] = std::move(next);
}

void Truth::term_writes(uint64_t term, ByteView record) {
  Log& log = logs_.at(term);
  log.bytes.insert(log.bytes.end(), record.begin(), record.end());
  log.ends.insert(start_ + log.bytes.size());
  ++records_;
}

void Truth::committed(const std::string& who, uint64_t term, Lsn end) {
  if (end <= start_) return;
  const auto found = logs_.find(term);
  if (found == logs_.end()) return violated(fmt::format("{} calls WAL of term {} committed, which nobody won", who, term));
  Log& log = found->second;
  const size_t size = end - start_;
  if (size <= log.committed) return;
  if (size > log.bytes.size() || !log.ends.contains(end)) {
    return violated(fmt::format("{} calls {} committed in term {}, which is no record end of it", who, to_string(end), term));
  }
  const size_t common = std::min(size, committed_.size());
  if (!same(log.bytes, committed_, log.committed, common)) {
    return violated(fmt::format("{} calls WAL up to {} committed in term {}: it is not what was committed before", who,
                                to_string(end), term));
  }
  for (const auto& [later, known] : logs_) {
    if (later > term && !same(known.bytes, log.bytes, log.committed, size)) {
      return violated(fmt::format("{} calls WAL up to {} committed in term {}, and term {} has begun without it", who,
                                  to_string(end), term, later));
    }
  }
  if (size > committed_.size()) {
    committed_.insert(committed_.end(), log.bytes.begin() + static_cast<ptrdiff_t>(committed_.size()),
                      log.bytes.begin() + static_cast<ptrdiff_t>(size));
  }
  log.committed = size;
  ++commits_;
}

void Truth::holds(const std::string& who, uint64_t term, ByteView held) {
  if (held.empty()) return;
  const auto found = logs_.find(term);
  if (found == logs_.end()) return violated(fmt::format("{} holds WAL of term {}, which nobody won", who, term));
  const Bytes& log = found->second.bytes;
  const size_t common = std::min(log.size(), held.size());
  if (held.size() > log.size() || std::memcmp(held.data(), log.data(), common) != 0) {
    const auto at = std::mismatch(held.begin(), held.begin() + static_cast<ptrdiff_t>(common), log.begin()).first;
    violated(fmt::format("{} says that it holds the log of term {} up to {}: it does not, from {} on", who, term,
                         to_string(start_ + held.size()), to_string(start_ + static_cast<uint64_t>(at - held.begin()))));
  }
}

void Truth::has_membership(const std::string& who, const wire::Membership& membership) {
  const auto [known, is_new] = memberships_.try_emplace(membership.generation, membership);
  if (!is_new && known->second != membership) {
    violated(fmt::format("{} has {}, which was {} before", who, wire::to_string(membership), wire::to_string(known->second)));
  }
}

void Truth::reads(const std::string& who, Lsn at, ByteView wal) {
  const size_t from = at - start_;
  if (at < start_ || from + wal.size() > committed_.size()) {
    return violated(fmt::format("{} was given WAL up to {}, nobody called more than {} committed", who,
                                to_string(at + wal.size()), to_string(committed_end())));
  }
  if (std::memcmp(committed_.data() + from, wal.data(), wal.size()) != 0) {
    violated(fmt::format("{} was given other WAL at {} than was committed", who, to_string(at)));
  }
}

uint64_t Truth::fingerprint() const {
  return (uint64_t{crc32c(committed_)} << 32) ^ (commits_ << 16) ^ committed_.size() ^ (logs_.size() << 8);
}

}  // namespace helium::sim
