#include "safekeeper/http_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/pg_version.h"
#include "wire/membership_json.h"

namespace helium::safekeeper {
namespace {

using nlohmann::json;

http::Response respond(const json& body, int status = 200) { return {.status = status, .body = body.dump()}; }

http::Response respond(const Error& error) {
  http::Response response = http::error_response(error);
  if (error.code == ErrorCode::kFenced) response.status = 409;
  if (error.code == ErrorCode::kNoSpace) response.status = 507;
  return response;
}

json to_json(const TermHistory& history) {
  json entries = json::array();
  for (const TermSwitch& entry : history) entries.push_back({{"term", entry.term}, {"lsn", to_string(entry.lsn)}});
  return entries;
}

json to_json(const Timeline& timeline) {
  const Timeline::View view = timeline.view();
  const ControlFile& constants = timeline.constants();
  json members = json::array();
  for (const wire::Member& member : view.membership.members) {
    members.push_back({{"id", member.id},
                       {"host", member.host},
                       {"pg_port", member.pg_port},
                       {"http_port", member.http_port}});
  }
  json readers = json::array();
  for (const Timeline::Reader& reader : timeline.readers()) {
    readers.push_back({{"name", reader.name},
                       {"kind", reader.kind},
                       {"sent_lsn", to_string(reader.sent)},
                       {"received_lsn", to_string(reader.received)},
                       {"flush_lsn", to_string(reader.flushed)},
                       {"apply_lsn", to_string(reader.applied)}});
  }
  json peers = json::array();
  for (const Timeline::Peer& peer : timeline.peers()) {
    peers.push_back({{"id", peer.progress.safekeeper_id},
                     {"log_term", peer.progress.log_term},
                     {"flush_lsn", to_string(peer.progress.flush_lsn)},
                     {"commit_lsn", to_string(peer.progress.commit_lsn)},
                     {"heard_ms_ago", peer.age.count()}});
  }
  return {{"tenant_id", to_string(timeline.id().tenant)},
          {"timeline_id", to_string(timeline.id().timeline)},
          {"state", "active"},
          {"safekeeper_id", constants.safekeeper_id},
          {"pg_version", constants.pg_version},
          {"system_id", std::to_string(constants.system_id)},
          {"generation", view.membership.generation},
          {"members", members},
          {"membership", json::parse(wire::encode_json(view.membership))},
          {"filling", view.filling},
          {"term", view.term},
          {"log_term", view.log_term},
          {"start_lsn", to_string(view.start_lsn)},
          {"flush_lsn", to_string(view.flush_lsn)},
          {"commit_lsn", to_string(view.commit_lsn)},
          {"residency", Timeline::name_of(view.residency)},
          {"local_start_lsn", to_string(view.local_start_lsn)},
          {"backup_lsn", to_string(view.backup_lsn)},
          {"remote_consistent_lsn", to_string(view.remote_consistent_lsn)},
          {"term_history", to_json(view.history)},
          {"peers", peers},
          {"readers", readers}};
}

// Fields of a request's body; the first that is missing or malformed is remembered, with its name.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  template <typename T>
  T get(const char* name) {
    const auto found = object_.find(name);
    if (found == object_.end()) {
      note(fmt::format("field '{}' is missing", name));
      return T{};
    }
    return convert<T>(name, *found);
  }
  template <typename T>
  T get_or(const char* name, T fallback) {
    return object_.contains(name) ? get<T>(name) : fallback;
  }
  template <typename T>
  T parsed(const char* name, Result<T> (*parse)(std::string_view)) {
    const std::string text = get<std::string>(name);
    if (!status_) return T{};
    Result<T> value = parse(text);
    if (!value) {
      note(fmt::format("field '{}': {}", name, value.error().message));
      return T{};
    }
    return *value;
  }
  void note(std::string text) {
    if (status_) status_ = fail(ErrorCode::kInvalid, std::move(text));
  }
  const Status& status() const { return status_; }

 private:
  template <typename T>
  T convert(const char* name, const json& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      if (value.is_string()) return value.get<T>();
    } else if constexpr (std::is_unsigned_v<T>) {
      if (value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<T>::max()) return value.get<T>();
    } else {
      if (value.is_array()) return value;
    }
    note(fmt::format("field '{}' has a wrong type or value", name));
    return T{};
  }
  const json& object_;
  Status status_;
};

Result<json> parse_body(const std::string& body) {
  json parsed = json::parse(body, nullptr, false);
  if (!parsed.is_object()) return fail(ErrorCode::kInvalid, "the body is no JSON object");
  return parsed;
}

Result<uint64_t> parse_u64(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' is no number", text));
  }
  return value;
}

void read_members(Fields& fields, wire::Membership& membership) {
  membership.generation = fields.get_or<uint32_t>("generation", 1);
  for (const json& element : fields.get<json>("members")) {
    if (!element.is_object()) {
      fields.note("field 'members' must hold objects");
      break;
    }
    Fields member(element);
    membership.members.push_back({.id = member.get<uint64_t>("id"),
                                  .host = member.get<std::string>("host"),
                                  .pg_port = member.get<uint16_t>("pg_port"),
                                  .http_port = member.get<uint16_t>("http_port")});
    if (!member.status()) fields.note("members: " + member.status().error().message);
  }
}

Result<ControlFile> parse_create(const std::string& body, uint64_t safekeeper_id) {
  HELIUM_ASSIGN(const json object, parse_body(body));
  Fields fields(object);
  ControlFile control;
  control.safekeeper_id = safekeeper_id;
  control.id.tenant = fields.parsed<TenantId>("tenant_id", parse_tenant_id);
  control.id.timeline = fields.parsed<TimelineId>("timeline_id", parse_timeline_id);
  control.pg_version = fields.get<uint32_t>("pg_version");
  control.system_id = fields.parsed<uint64_t>("system_id", parse_u64);
  control.acceptor.start_lsn = fields.parsed<Lsn>("start_lsn", parse_lsn);
  // A newcomer is made in the middle of a change: with the joint membership, to be filled (rule 8).
  if (object.contains("membership")) {
    HELIUM_ASSIGN(const wire::AcceptRequest order, wire::decode_accept_json(body));
    if (!order.membership.is_joint() || wire::is_in(order.membership.members, safekeeper_id)) {
      return fail(ErrorCode::kInvalid, "field 'membership' must be a joint one that makes this safekeeper a member");
    }
    control.acceptor.membership = order.membership;
    control.acceptor.promised_generation = order.membership.generation;
    control.acceptor.changer = order.changer;
    control.acceptor.filling = true;
  } else {
    read_members(fields, control.acceptor.membership);
  }
  HELIUM_TRY(fields.status());
  if (!is_supported_pg_version(control.pg_version)) {
    return fail(ErrorCode::kInvalid, fmt::format("pg_version {} is not supported: {} to {} are", control.pg_version,
                                                 kOldestPgVersion, kNewestPgVersion));
  }
  if (!control.acceptor.start_lsn.is_valid() || control.acceptor.start_lsn.bytes() % 8 != 0) {
    return fail(ErrorCode::kInvalid, fmt::format("start_lsn {} is no record end",
                                                 to_string(control.acceptor.start_lsn)));
  }
  if (!wire::is_member(control.acceptor.membership, safekeeper_id)) {
    return fail(ErrorCode::kInvalid, fmt::format("safekeeper {} is not among the members", safekeeper_id));
  }
  if (!wire::is_valid_membership(control.acceptor.membership)) {
    return fail(ErrorCode::kInvalid, "field 'members' must name each safekeeper once, by an id from 1 on");
  }
  control.acceptor.commit_lsn = control.acceptor.start_lsn;
  control.flushed_lsn = control.acceptor.start_lsn;
  control.verify_lsn = control.acceptor.start_lsn;
  control.local_start_lsn = control.acceptor.start_lsn;
  return control;
}

Result<TenantTimelineId> id_of(const http::Request& request) {
  HELIUM_ASSIGN(const TenantId tenant, parse_tenant_id(request.params.at("tenant")));
  HELIUM_ASSIGN(const TimelineId timeline, parse_timeline_id(request.params.at("timeline")));
  return TenantTimelineId{tenant, timeline};
}

Result<std::shared_ptr<Timeline>> timeline_of(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, id_of(request));
  return safekeeper.timeline(id);
}

Result<json> list(Safekeeper& safekeeper) {
  json all = json::array();
  for (const Safekeeper::Listed& listed : safekeeper.timelines()) {
    if (listed.timeline && !listed.timeline->recovered()) {
      all.push_back({{"tenant_id", to_string(listed.id.tenant)},
                     {"timeline_id", to_string(listed.id.timeline)},
                     {"state", "recovering"}});
      continue;
    }
    all.push_back(listed.timeline ? to_json(*listed.timeline)
                                  : json{{"tenant_id", to_string(listed.id.tenant)},
                                         {"timeline_id", to_string(listed.id.timeline)},
                                         {"state", "broken"},
                                         {"reason", listed.broken}});
  }
  return all;
}

Result<json> create(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const ControlFile control, parse_create(request.body, safekeeper.id()));
  HELIUM_TRY(safekeeper.create_timeline(control));
  HELIUM_ASSIGN(const auto timeline, safekeeper.timeline(control.id));
  if (control.acceptor.filling) {
    // It may have been here from an earlier attempt.
    HELIUM_ASSIGN(const wire::MembershipReply reply, timeline->accept({.membership = control.acceptor.membership,
                                                                       .changer = control.acceptor.changer}));
    return json::parse(wire::encode_json(reply));
  }
  return to_json(*timeline);
}

Result<json> show(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  return to_json(*timeline);
}

Result<json> remove(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, id_of(request));
  HELIUM_TRY(safekeeper.delete_timeline(id));
  return json{{"deleted", true}};
}

Result<json> catch_up(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  HELIUM_ASSIGN(const json object, parse_body(request.body));
  Fields fields(object);
  const HostPort peer = fields.parsed<HostPort>("peer", parse_host_port);
  const Lsn upto = fields.parsed<Lsn>("upto_lsn", parse_lsn);
  const uint64_t log_term = fields.get<uint64_t>("log_term");
  const uint32_t generation = fields.get_or<uint32_t>("generation", timeline->view().membership.generation);
  TermHistory history;
  for (const json& element : fields.get<json>("term_history")) {
    if (!element.is_object()) {
      fields.note("field 'term_history' must hold objects");
      break;
    }
    Fields entry(element);
    history.push_back({entry.get<uint64_t>("term"), entry.parsed<Lsn>("lsn", parse_lsn)});
    if (!entry.status()) fields.note("term_history: " + entry.status().error().message);
  }
  HELIUM_TRY(fields.status());
  HELIUM_TRY(timeline->catch_up(peer, generation, log_term, history, upto));
  return to_json(*timeline);
}

// -- membership -----------------------------------------------------------------------------------------------------------

json to_json(const wire::MembershipReply& reply) { return json::parse(wire::encode_json(reply)); }

Result<json> membership(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  return to_json(timeline->membership());
}

Result<json> prepare(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  HELIUM_ASSIGN(const wire::PrepareRequest order, wire::decode_prepare_json(request.body));
  HELIUM_ASSIGN(const wire::MembershipReply reply, timeline->prepare(order));
  return to_json(reply);
}

Result<json> accept(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  HELIUM_ASSIGN(const wire::AcceptRequest order, wire::decode_accept_json(request.body));
  HELIUM_ASSIGN(const wire::MembershipReply reply, timeline->accept(order));
  return to_json(reply);
}

Result<json> fill(Safekeeper& safekeeper, const http::Request& request) {
  HELIUM_ASSIGN(const auto timeline, timeline_of(safekeeper, request));
  HELIUM_ASSIGN(const wire::FillRequest order, wire::decode_fill_json(request.body));
  HELIUM_ASSIGN(const wire::MembershipReply reply, timeline->fill(order));
  return to_json(reply);
}

}  // namespace

void add_routes(http::Server& server, Safekeeper& safekeeper) {
  const auto route = [&](std::string_view method, std::string pattern, auto handle) {
    server.route(method, std::move(pattern), [&safekeeper, handle](const http::Request& request) {
      const Result<json> result = handle(safekeeper, request);
      return result ? respond(*result) : respond(result.error());
    });
  };
  route("GET", "/v1/timeline", [](Safekeeper& s, const http::Request&) { return list(s); });
  route("POST", "/v1/tenant/timeline", create);
  route("GET", "/v1/tenant/:tenant/timeline/:timeline", show);
  route("DELETE", "/v1/tenant/:tenant/timeline/:timeline", remove);
  route("POST", "/v1/tenant/:tenant/timeline/:timeline/catch_up", catch_up);
  route("GET", "/v1/tenant/:tenant/timeline/:timeline/membership", membership);
  route("POST", "/v1/tenant/:tenant/timeline/:timeline/membership/prepare", prepare);
  route("POST", "/v1/tenant/:tenant/timeline/:timeline/membership/accept", accept);
  route("POST", "/v1/tenant/:tenant/timeline/:timeline/membership/fill", fill);
}

}  // namespace helium::safekeeper
