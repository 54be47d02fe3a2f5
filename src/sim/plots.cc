// Plots: faults in an order that chance alone finds seldom. Which nodes, when and how long is still up to the seed.

#include <algorithm>

#include "sim/world.h"

namespace helium::sim {

void World::hold_apart(Address one, Address other) {
  network.hold(one, other);
  network.hold(other, one);
}

// A joint membership seen by two halves: the computes that live reach only those that will not decide alone, while the
// change goes on; then a new compute reaches only the others. Whoever counts one half too few, or too early, is caught.
void World::begin_plot() {
  const wire::Membership* newest = newest_membership();
  if (plot_stage_ != 0 || newest == nullptr || !newest->is_joint()) return;
  plot_compute_ = any_live_compute().address();
  if (!compute(plot_compute_)->runs() && random.chance(80)) return;
  plot_side_.clear();
  std::vector<uint64_t> staying;
  for (const wire::Member& member : newest->new_members) {
    if (wire::is_in(newest->members, member.id)) staying.push_back(member.id);
    else plot_side_.insert(member.id);
  }
  for (size_t i = staying.size(); i > 1; --i) std::swap(staying[i - 1], staying[random.below(i)]);
  if (random.chance(30)) plot_side_.clear();
  for (const uint64_t id : staying) {
    if (plot_side_.size() < newest->new_members.size() / 2 + 1) plot_side_.insert(id);
  }
  plot_rest_.clear();
  for (const auto* half : {&newest->members, &newest->new_members}) {
    for (const wire::Member& member : *half) {
      if (!plot_side_.contains(member.id)) plot_rest_.insert(member.id);
    }
  }
  for (size_t i = computes_.size() - std::min(computes_.size(), kComputesAlive); i < computes_.size(); ++i) {
    for (const uint64_t id : plot_side_) hold_apart(computes_[i]->address(), static_cast<Address>(id));
  }
  trace("plot: computes lose {}", fmt::join(plot_side_, ","));
  plot_stage_ = 1;
  plot_until_ = step_ + static_cast<int>(random.between(100, 800));
}

// Those who see each other have much to say.
void World::work_between(Compute& compute, const std::set<uint64_t>& nodes) {
  if (nodes.empty()) return;
  Node& node = *nodes_.at(*std::next(nodes.begin(), static_cast<ptrdiff_t>(random.below(nodes.size()))));
  compute.talk_to(node);
  if (random.one_in(4)) compute.write();
  for (int i = 0; i < 3; ++i) deliver_one();
  if (node.has_unanswered()) node.flush();
}

void World::continue_plot() {
  if (plot_stage_ == 0) return;
  Compute* before = compute(plot_compute_);
  if (plot_stage_ == 2 && random.chance(50)) work_between(newest_compute(), plot_side_);
  else if (before != nullptr) work_between(*before, plot_rest_);
  if (Changer* changer = live_changer(); changer != nullptr && plot_stage_ == 1) changer->step();
  const wire::Membership* newest = newest_membership();
  const bool goes_on = plot_stage_ == 1 && newest != nullptr && newest->is_joint();
  if (step_ < plot_until_ && (goes_on || plot_stage_ == 2)) return;
  if (plot_stage_ == 2) {
    network.release();
    plot_stage_ = 0;
    return;
  }
  new_compute();
  for (const uint64_t id : plot_rest_) {
    hold_apart(newest_compute().address(), static_cast<Address>(id));
    for (const uint64_t other : plot_side_) hold_apart(static_cast<Address>(other), static_cast<Address>(id));
  }
  for (const uint64_t id : plot_side_) nodes_.at(id)->start();
  trace("plot: a new compute without {}", fmt::join(plot_rest_, ","));
  plot_stage_ = 2;
  plot_until_ = step_ + static_cast<int>(random.between(60, 250));
}

// The disk of a node that is about to truncate.
void World::aim_at_truncation(SimDisk& disk) {
  if (quiet_ || profile_ != Profile::kDisks || random.chance(60)) return;
  const uint64_t operation = random.below(12);
  if (random.chance(50)) disk.kill_at(operation);
  else disk.cut_at(operation);
}

// The process dies, comes back with what the kernel remembers, and then the power goes.
void World::kill_and_cut(Node& node) {
  node.kill();
  node.start();
  if (random.chance(50)) node.flush();
  node.power_off();
  node.start();
}

}  // namespace helium::sim
