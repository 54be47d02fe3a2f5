// The network of a simulated world: messages get lost, doubled, late and overtaken, links are cut one way.
// Not thread safe.

#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <set>
#include <utility>

#include "sim/random.h"

namespace helium::sim {

// Who sends: safekeepers have their ids (below 100), everybody else a number of its own from 100 on.
using Address = int;

class Network {
 public:
  explicit Network(Random& random) : random_(random) {}

  // `deliver` runs at the receiver, never, once, or twice.
  void send(Address from, Address to, std::function<void()> deliver) {
    if (!connected(from, to)) return;
    messages_.push_back({from, to, std::move(deliver)});
    if (messages_.size() > kMost) messages_.erase(messages_.begin(), messages_.begin() + kMost / 2);
  }
  bool empty() const { return messages_.empty(); }
  size_t size() const { return messages_.size(); }

  // Mostly in order; any message may be overtaken. `busy` receivers get theirs later.
  void deliver_one(const std::function<bool(Address)>& busy) {
    const size_t index = quiet_ || random_.chance(75) ? 0 : random_.below(messages_.size());
    Message message = std::move(messages_[index]);
    messages_.erase(messages_.begin() + static_cast<ptrdiff_t>(index));
    if (!quiet_) {
      if (busy(message.to)) return messages_.push_back(std::move(message));
      if (random_.chance(5)) return;                             // lost
      if (random_.chance(5)) messages_.push_back(message);       // comes again, later
    }
    message.deliver();
  }

  bool connected(Address from, Address to) const { return !cut_.contains({from, to}) && !held_.contains({from, to}); }
  void cut(Address from, Address to) { cut_.insert({from, to}); }
  void heal() { cut_.clear(); }
  void hold(Address from, Address to) { held_.insert({from, to}); }  // a cut that heal() leaves
  void release() { held_.clear(); }
  void forget() { messages_.clear(); }
  void be_quiet() { quiet_ = true; }  // no more faults

 private:
  static constexpr size_t kMost = 300;
  struct Message {
    Address from, to;
    std::function<void()> deliver;
  };
  Random& random_;
  std::deque<Message> messages_;
  std::set<std::pair<Address, Address>> cut_, held_;
  bool quiet_ = false;
};

}  // namespace helium::sim
