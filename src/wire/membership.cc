#include "wire/membership.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace helium::wire {
namespace {

bool is_valid_list(const std::vector<Member>& list) {
  std::set<uint64_t> ids;
  for (const Member& member : list) {
    if (member.id == 0 || member.host.size() > kMaxMemberHostSize || !ids.insert(member.id).second) return false;
  }
  return list.size() <= kMaxMembers;
}

void put_list(ByteWriter& out, const std::vector<Member>& list) {
  out.u32(static_cast<uint32_t>(list.size()));
  for (const Member& member : list) {
    out.u64(member.id);
    out.text(member.host);
    out.u16(member.pg_port);
    out.u16(member.http_port);
  }
}

std::vector<Member> get_list(ByteReader& in, bool& valid) {
  std::vector<Member> list;
  const uint32_t count = in.u32();
  if (count > kMaxMembers) valid = false;
  for (uint32_t i = 0; valid && i < count && !in.failed(); ++i) {
    Member member;
    member.id = in.u64();
    member.host = in.text();
    member.pg_port = in.u16();
    member.http_port = in.u16();
    list.push_back(std::move(member));
  }
  return list;
}

std::string ids_of(const std::vector<Member>& list) {
  std::string text;
  for (const Member& member : list) text += fmt::format("{}{}", text.empty() ? "" : ",", member.id);
  return text;
}

}  // namespace

bool is_valid_membership(const Membership& membership) {
  return membership.generation >= 1 && !membership.members.empty() && is_valid_list(membership.members) &&
         is_valid_list(membership.new_members) && is_valid_list(membership.previous) &&
         (membership.new_members.empty() || membership.previous.empty());
}

const Member* find_member(const std::vector<Member>& list, uint64_t id) {
  const auto found = std::ranges::find(list, id, &Member::id);
  return found == list.end() ? nullptr : &*found;
}

std::vector<Member> all_members(const Membership& membership) {
  std::vector<Member> all = membership.members;
  for (const Member& member : membership.new_members) {
    if (!is_in(all, member.id)) all.push_back(member);
  }
  return all;
}

void put_membership(ByteWriter& out, const Membership& membership) {
  out.u32(membership.generation);
  put_list(out, membership.members);
  put_list(out, membership.new_members);
  put_list(out, membership.previous);
}

Membership get_membership(ByteReader& in, bool& valid) {
  Membership membership;
  membership.generation = in.u32();
  membership.members = get_list(in, valid);
  membership.new_members = get_list(in, valid);
  membership.previous = get_list(in, valid);
  if (!is_valid_membership(membership)) valid = false;
  return membership;
}

std::string to_string(const Membership& membership) {
  std::string text = fmt::format("generation {}: {}", membership.generation, ids_of(membership.members));
  if (membership.is_joint()) text += " to " + ids_of(membership.new_members);
  if (!membership.previous.empty()) text += fmt::format(" (before: {})", ids_of(membership.previous));
  return text;
}

}  // namespace helium::wire
