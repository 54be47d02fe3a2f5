#include "sim/changer.h"

#include "sim/world.h"

namespace helium::sim {

using walclient::MembershipChange;

Changer::Changer(World& world, Address address, MembershipChange::Config config)
    : world_(world), address_(address), config_(config), core_(std::move(config)) {}

void Changer::step() {
  if (core_.is_over()) return;
  if (!asked_) {
    asked_ = true;
    waits_ = static_cast<int>(world_.random.below(5));
    for (const MembershipChange::Request& request : core_.requests()) {
      Node* node = world_.node(request.to.id);
      if (node == nullptr) continue;
      world_.network.send(address_, static_cast<int>(node->id()), [this, node, message = request.message] {
        node->on_change(message, [this, node](Node::Answer answer) {
          world_.network.send(static_cast<int>(node->id()), address_, [this, answer = std::move(answer)] {
            if (Changer* changer = world_.changer(address_)) answer(changer->core_);
          });
        });
      });
    }
    return;
  }
  if (waits_-- > 0) return;
  asked_ = false;
  const auto before = core_.state();
  core_.advance();
  if (core_.state() != before) {
    world_.trace("changer {}: {} ({})", address_, to_string(core_.state()), core_.waits_for());
  }
}

}  // namespace helium::sim
