#include "pageserver/wal_sources.h"

#include <algorithm>
#include <functional>

namespace helium::pageserver {

void WalSources::on_progress(const HostPort& address, Lsn commit_lsn) {
  Source& source = sources_[address];
  source.commit_lsn = std::max(source.commit_lsn, commit_lsn);
}

void WalSources::on_hint(const HostPort& address, Lsn upto, Clock::time_point now) {
  Source& source = sources_[address];
  source.hinted_lsn = std::max(source.hinted_lsn, upto);
  source.hint_ends = now + kHintLife;
  source.resting_until = {};  // it is known to be alive: try at once
}

void WalSources::on_success(const HostPort& address) { sources_[address].rest = std::chrono::milliseconds(0); }

void WalSources::on_failure(const HostPort& address, Clock::time_point now) {
  Source& source = sources_[address];
  source.rest = std::clamp(source.rest * 2, kFirstRest, kLongestRest);
  source.resting_until = now + source.rest;
}

std::optional<HostPort> WalSources::choose(Lsn have, Clock::time_point now, Lsn wanted) const {
  const HostPort* best = nullptr;
  Lsn best_lsn;
  for (const auto& [address, source] : sources_) {
    if (source.resting_until > now) continue;
    if (source.hint_ends > now && source.hinted_lsn > have) return address;
    if (source.commit_lsn > have && source.commit_lsn > best_lsn) {
      best = &address;
      best_lsn = source.commit_lsn;
    }
  }
  if (best) return *best;
  if (wanted <= have) return std::nullopt;
  const Source* rested = nullptr;
  for (const auto& [address, source] : sources_) {
    if (source.resting_until > now || (rested && rested->resting_until <= source.resting_until)) continue;
    best = &address;
    rested = &source;
  }
  return best ? std::optional(*best) : std::nullopt;
}

std::vector<HostPort> WalSources::known() const {
  std::vector<HostPort> addresses;
  for (const auto& [address, source] : sources_) addresses.push_back(address);
  std::ranges::stable_sort(addresses, std::greater(),
                           [&](const HostPort& address) { return sources_.at(address).commit_lsn; });
  return addresses;
}

bool WalSources::should_switch(const HostPort& current, Lsn have, Clock::time_point now) const {
  for (const auto& [address, source] : sources_) {
    if (address == current || source.resting_until > now) continue;
    if (source.commit_lsn > have && source.commit_lsn - have > kMaxLagBytes) return true;
    if (source.hint_ends > now && source.hinted_lsn > have) return true;
  }
  return false;
}

std::optional<Clock::time_point> WalSources::next_change(Clock::time_point now) const {
  std::optional<Clock::time_point> next;
  for (const auto& [address, source] : sources_)
    if (source.resting_until > now && (!next || source.resting_until < *next)) next = source.resting_until;
  return next;
}

}  // namespace helium::pageserver
