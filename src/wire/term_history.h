// TermHistory: which term wrote which part of a timeline's WAL.
//
// An entry (term, lsn) says: WAL from lsn on belongs to term, until the next entry. Terms rise strictly, positions
// never fall; two entries with one start are normal (the first of them wrote nothing). WAL before the first entry
// belongs to term 0, which every member shares: the timeline starts there. Positions in a history are record ends.
// Pure functions, safe from any thread. Why each rule is so: docs/protocols/wal_commit.md, rules 1, 2, 4 and 6.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"

namespace helium {

struct TermSwitch {
  uint64_t term = 0;
  Lsn lsn;  // where the term's WAL starts
  friend bool operator==(const TermSwitch&, const TermSwitch&) = default;
};
using TermHistory = std::vector<TermSwitch>;

// Terms rise strictly from 1, positions never fall.
bool is_valid_history(std::span<const TermSwitch> history);

// The term that owns a log that ends at flush_lsn: the last entry that starts at or before it (an entry that starts
// exactly there counts: its start was adopted). 0 if none. This is what counts in an election.
uint64_t log_term_at(std::span<const TermSwitch> history, Lsn flush_lsn);

// The entries that start at or before flush_lsn.
TermHistory cut_history(std::span<const TermSwitch> history, Lsn flush_lsn);

// Up to where the log (mine, my_flush_lsn) is a prefix of the log that `theirs` describes; at most my_flush_lsn.
Lsn fork_point(std::span<const TermSwitch> mine, Lsn my_flush_lsn, std::span<const TermSwitch> theirs);

// Both histories name the same term for every byte before `upto` (a reader that holds WAL up to there may follow).
bool histories_agree(std::span<const TermSwitch> a, std::span<const TermSwitch> b, Lsn upto);

// What a reader that holds WAL up to `have`, of history `ours`, is to think of a safekeeper that announces `theirs`.
enum class HistoryFit {
  kAgrees,     // its WAL behind `have` may be taken
  kLags,       // it has not heard yet of a term whose WAL we hold: it may come to agree, its WAL is not to be taken before
  kDisagrees,  // a later term than we know of wrote over what we hold: one of the two is wrong
};
HistoryFit fit_history(std::span<const TermSwitch> ours, Lsn have, std::span<const TermSwitch> theirs);

// "1@0/16B3740 2@0/16B5A50"
std::string to_string(std::span<const TermSwitch> history);

}  // namespace helium
