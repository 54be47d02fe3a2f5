#include "wire/membership_json.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace helium::wire {
namespace {

using nlohmann::json;

json list_to_json(const std::vector<Member>& list) {
  json array = json::array();
  for (const Member& member : list) {
    array.push_back({{"id", member.id},
                     {"host", member.host},
                     {"pg_port", member.pg_port},
                     {"http_port", member.http_port}});
  }
  return array;
}

json to_json(const Membership& membership) {
  return {{"generation", membership.generation},
          {"members", list_to_json(membership.members)},
          {"new_members", list_to_json(membership.new_members)},
          {"previous", list_to_json(membership.previous)}};
}

// Reads fields of an object; the first that is missing or malformed is remembered.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {
    if (!object.is_object()) note("the body is no JSON object");
  }

  template <typename T>
  T number(const char* name) {
    const json* value = find(name);
    if (value != nullptr && value->is_number_unsigned() && value->get<uint64_t>() <= std::numeric_limits<T>::max()) {
      return value->get<T>();
    }
    note(fmt::format("field '{}' is missing or no number of that size", name));
    return T{};
  }
  bool flag(const char* name) {
    const json* value = find(name);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    note(fmt::format("field '{}' is missing or not true or false", name));
    return false;
  }
  std::string text(const char* name) {
    const json* value = find(name);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    note(fmt::format("field '{}' is missing or no text", name));
    return {};
  }
  Lsn lsn(const char* name) { return take(name, parse_lsn(text(name))); }
  // Unset if the text is empty or the field is missing.
  ChangerId changer() {
    const json* value = find("changer");
    if (value == nullptr || !value->is_string() || value->get<std::string>().empty()) return {};
    return {take("changer", parse_id_bytes("changer id", value->get<std::string>()))};
  }
  Membership membership() {
    const json* value = find("membership");
    return read_membership(value == nullptr ? json() : *value);
  }
  Membership read_membership(const json& value) {
    Reader in(value);
    Membership membership{in.number<uint32_t>("generation"), in.list("members"), in.list("new_members"),
                          in.list("previous")};
    if (!in.status()) {
      note("membership: " + in.status().error().message);
    } else if (!is_valid_membership(membership)) {
      note("the membership is invalid: each member belongs into a list once, and a joint one has no 'previous'");
    }
    return membership;
  }
  TermHistory history(const char* name) {
    TermHistory history;
    const json* value = find(name);
    if (value == nullptr || !value->is_array()) note(fmt::format("field '{}' is missing or no list", name));
    for (size_t i = 0; status_ && i < value->size(); ++i) {
      Reader entry((*value)[i]);
      const uint64_t term = entry.number<uint64_t>("term");
      history.push_back({term, entry.lsn("lsn")});
      if (!entry.status()) note(fmt::format("{}: {}", name, entry.status().error().message));
    }
    if (status_ && !is_valid_history(history)) note(fmt::format("field '{}' is no term history", name));
    return history;
  }
  const Status& status() const { return status_; }

 private:
  const json* find(const char* name) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }
  template <typename T>
  T take(const char* name, Result<T> parsed) {
    if (parsed) return *parsed;
    note(fmt::format("field '{}': {}", name, parsed.error().message));
    return T{};
  }
  std::vector<Member> list(const char* name) {
    std::vector<Member> members;
    const json* value = find(name);
    if (value == nullptr) return members;  // empty lists may be left out
    if (!value->is_array() || value->size() > kMaxMembers) note(fmt::format("field '{}' is no list of members", name));
    for (size_t i = 0; status_ && i < value->size(); ++i) {
      Reader member((*value)[i]);
      members.push_back({member.number<uint64_t>("id"), member.text("host"), member.number<uint16_t>("pg_port"),
                         member.number<uint16_t>("http_port")});
      if (!member.status()) note(fmt::format("{}: {}", name, member.status().error().message));
    }
    return members;
  }
  void note(std::string text) {
    if (status_) status_ = fail(ErrorCode::kInvalid, std::move(text));
  }

  const json& object_;
  Status status_;
};

template <typename T, typename Read>
Result<T> decode(std::string_view text, Read read) {
  const json object = json::parse(text, nullptr, false);
  Reader in(object);
  T value = read(in, object);
  HELIUM_TRY(in.status());
  return value;
}

std::string changer_text(const ChangerId& changer) { return changer.is_valid() ? to_string(changer) : ""; }

}  // namespace

std::string encode_json(const Membership& membership) { return to_json(membership).dump(); }

std::string encode_json(const PrepareRequest& request) {
  return json{{"generation", request.generation}, {"changer", changer_text(request.changer)}}.dump();
}

std::string encode_json(const AcceptRequest& request) {
  return json{{"membership", to_json(request.membership)}, {"changer", changer_text(request.changer)}}.dump();
}

std::string encode_json(const FillRequest& request) {
  return json{{"generation", request.generation},
              {"term", request.term},
              {"log_term", request.log_term},
              {"flush_lsn", to_string(request.flush_lsn)}}
      .dump();
}

std::string encode_json(const MembershipReply& reply) {
  json history = json::array();
  for (const TermSwitch& entry : reply.history) history.push_back({{"term", entry.term}, {"lsn", to_string(entry.lsn)}});
  return json{{"safekeeper_id", reply.safekeeper_id},
              {"membership", to_json(reply.membership)},
              {"promised_generation", reply.promised_generation},
              {"changer", changer_text(reply.changer)},
              {"filling", reply.filling},
              {"term", reply.term},
              {"log_term", reply.log_term},
              {"flush_lsn", to_string(reply.flush_lsn)},
              {"commit_lsn", to_string(reply.commit_lsn)},
              {"term_history", std::move(history)}}
      .dump();
}

Result<Membership> decode_membership_json(std::string_view text) {
  return decode<Membership>(text, [](Reader& in, const json& object) { return in.read_membership(object); });
}

Result<PrepareRequest> decode_prepare_json(std::string_view text) {
  return decode<PrepareRequest>(text, [](Reader& in, const json&) {
    return PrepareRequest{.generation = in.number<uint32_t>("generation"), .changer = in.changer()};
  });
}

Result<AcceptRequest> decode_accept_json(std::string_view text) {
  return decode<AcceptRequest>(text, [](Reader& in, const json&) {
    return AcceptRequest{.membership = in.membership(), .changer = in.changer()};
  });
}

Result<FillRequest> decode_fill_json(std::string_view text) {
  return decode<FillRequest>(text, [](Reader& in, const json&) {
    return FillRequest{.generation = in.number<uint32_t>("generation"),
                       .term = in.number<uint64_t>("term"),
                       .log_term = in.number<uint64_t>("log_term"),
                       .flush_lsn = in.lsn("flush_lsn")};
  });
}

Result<MembershipReply> decode_membership_reply_json(std::string_view text) {
  return decode<MembershipReply>(text, [](Reader& in, const json&) {
    return MembershipReply{.safekeeper_id = in.number<uint64_t>("safekeeper_id"),
                           .membership = in.membership(),
                           .promised_generation = in.number<uint32_t>("promised_generation"),
                           .changer = in.changer(),
                           .filling = in.flag("filling"),
                           .term = in.number<uint64_t>("term"),
                           .log_term = in.number<uint64_t>("log_term"),
                           .flush_lsn = in.lsn("flush_lsn"),
                           .commit_lsn = in.lsn("commit_lsn"),
                           .history = in.history("term_history")};
  });
}

}  // namespace helium::wire
