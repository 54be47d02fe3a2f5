#include "wire/term_history.h"

#include <fmt/format.h>

#include <algorithm>

namespace helium {

bool is_valid_history(std::span<const TermSwitch> history) {
  for (size_t i = 0; i < history.size(); ++i) {
    if (history[i].term == 0 || !history[i].lsn.is_valid()) return false;
    if (i > 0 && (history[i].term <= history[i - 1].term || history[i].lsn < history[i - 1].lsn)) return false;
  }
  return true;
}

uint64_t log_term_at(std::span<const TermSwitch> history, Lsn flush_lsn) {
  uint64_t owner = 0;
  for (const TermSwitch& entry : history) {
    if (entry.lsn > flush_lsn) break;
    owner = entry.term;
  }
  return owner;
}

TermHistory cut_history(std::span<const TermSwitch> history, Lsn flush_lsn) {
  TermHistory cut;
  for (const TermSwitch& entry : history) {
    if (entry.lsn > flush_lsn) break;
    cut.push_back(entry);
  }
  return cut;
}

Lsn fork_point(std::span<const TermSwitch> mine, Lsn my_flush_lsn, std::span<const TermSwitch> theirs) {
  // The entries that both have are a common beginning: a term starts at one place only, whoever tells of it.
  size_t common = 0;
  while (common < mine.size() && common < theirs.size() && mine[common] == theirs[common]) ++common;
  // Behind it, both logs go on in the last common term (term 0 before any entry) until one of them switches.
  Lsn fork = my_flush_lsn;
  if (common < mine.size()) fork = std::min(fork, mine[common].lsn);
  if (common < theirs.size()) fork = std::min(fork, theirs[common].lsn);
  return fork;
}

bool histories_agree(std::span<const TermSwitch> a, std::span<const TermSwitch> b, Lsn upto) {
  // The owner changes at entries only, so it is enough to compare owners at each entry's start below `upto`.
  const auto owner = [](std::span<const TermSwitch> history, Lsn at) { return log_term_at(history, at); };
  for (const auto& history : {a, b}) {
    for (const TermSwitch& entry : history) {
      if (entry.lsn >= upto) break;
      if (owner(a, entry.lsn) != owner(b, entry.lsn)) return false;
    }
  }
  return true;
}

HistoryFit fit_history(std::span<const TermSwitch> ours, Lsn have, std::span<const TermSwitch> theirs) {
  Lsn parting = have;  // the first byte that two terms claim
  for (const auto& history : {ours, theirs}) {
    for (const TermSwitch& entry : history) {
      if (entry.lsn < parting && log_term_at(ours, entry.lsn) != log_term_at(theirs, entry.lsn)) parting = entry.lsn;
    }
  }
  if (parting == have) return HistoryFit::kAgrees;
  return log_term_at(theirs, parting) < log_term_at(ours, parting) ? HistoryFit::kLags : HistoryFit::kDisagrees;
}

std::string to_string(std::span<const TermSwitch> history) {
  std::string text;
  for (const TermSwitch& entry : history) {
    text += fmt::format("{}{}@{}", text.empty() ? "" : " ", entry.term, to_string(entry.lsn));
  }
  return text;
}

}  // namespace helium
