// Truth: the checkers. They see everything: the log of every term, and all WAL that anybody ever called committed.
//
// A violation is noted once; the world stops at it. Not thread safe.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/bytes.h"
#include "base/lsn.h"
#include "wire/membership.h"
#include "wire/term_history.h"

namespace helium::sim {

class Truth {
 public:
  explicit Truth(Lsn start) : start_(start) { logs_[0].ends.insert(start); }

  // -- what the terms write -------------------------------------------------------------------------------------------
  // `log`: all WAL up to X, as the voter that the proposer follows has it; of term `parent`.
  // Checked: nobody won this term before; what earlier terms committed is in it.
  void term_begins(uint64_t term, uint64_t parent, Bytes log);
  void term_writes(uint64_t term, ByteView record);
  const Bytes& log(uint64_t term) const { return logs_.at(term).bytes; }
  bool knows(uint64_t term) const { return logs_.contains(term); }
  Lsn end_of(uint64_t term) const { return start_ + logs_.at(term).bytes.size(); }

  // -- what is said ---------------------------------------------------------------------------------------------------
  // Somebody calls the log of `term` up to `end` committed. Checked: it was written, it is what was committed before, it
  // ends with a record, and later terms have it.
  void committed(const std::string& who, uint64_t term, Lsn end);
  // Somebody says that it holds the log of `term` up to its flush_lsn, which is `held`. Checked byte by byte.
  void holds(const std::string& who, uint64_t term, ByteView held);
  // Somebody has this membership. Checked: a generation names one for ever.
  void has_membership(const std::string& who, const wire::Membership& membership);
  // A reader was given this. Checked: it was committed before.
  void reads(const std::string& who, Lsn at, ByteView wal);

  Lsn committed_end() const { return start_ + committed_.size(); }
  uint64_t commits() const { return commits_; }
  uint64_t record_count() const { return records_; }

  void violated(std::string what) {
    if (!violation_) violation_ = std::move(what);
  }
  const std::optional<std::string>& violation() const { return violation_; }
  uint64_t fingerprint() const;

 private:
  struct Log {
    Bytes bytes;         // from start_ on
    std::set<Lsn> ends;  // of its records
    size_t committed = 0;
  };
  bool same(const Bytes& a, const Bytes& b, size_t from, size_t to) const;

  const Lsn start_;
  std::map<uint64_t, Log> logs_;
  Bytes committed_;
  std::map<uint32_t, wire::Membership> memberships_;
  uint64_t commits_ = 0, records_ = 0;
  std::optional<std::string> violation_;
};

}  // namespace helium::sim
