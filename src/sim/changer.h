// Changer: a command line that replaces a member of the timeline by another one, round by round. Not thread safe.

#pragma once

#include "sim/network.h"
#include "walclient/membership_change.h"

namespace helium::sim {

class World;

class Changer {
 public:
  Changer(World& world, Address address, walclient::MembershipChange::Config config);

  Address address() const { return address_; }
  const walclient::MembershipChange& core() const { return core_; }
  const walclient::MembershipChange::Config& config() const { return config_; }
  // Sends what a round asks for; ends the round when it has been waiting for a while.
  void step();

 private:
  World& world_;
  const Address address_;
  const walclient::MembershipChange::Config config_;
  walclient::MembershipChange core_;
  bool asked_ = false;
  int waits_ = 0;
};

}  // namespace helium::sim
