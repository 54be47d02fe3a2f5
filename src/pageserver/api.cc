#include "pageserver/api.h"

#include <nlohmann/json.hpp>

#include "pageserver/format.h"
#include "io/pg_distribution.h"

namespace helium::pageserver {
namespace {

using nlohmann::json;

http::Response answer(int status, const json& body) { return {status, body.dump(), "application/json"}; }

http::Response answer(Result<json> body, int status = 200) {
  return body ? answer(status, *body) : http::error_response(body.error());
}

Result<json> parse_body(const http::Request& request) {
  json body = json::parse(request.body, nullptr, false);
  if (!body.is_object()) return fail(ErrorCode::kInvalid, "the body must be a JSON object");
  return body;
}

Result<std::string> text_field(const json& body, const char* name) {
  if (!body.contains(name) || !body[name].is_string())
    return fail(ErrorCode::kInvalid, fmt::format("the body needs a text field '{}'", name));
  return body[name].get<std::string>();
}

Result<TenantTimelineId> ids_of(const http::Request& request) {
  TenantTimelineId id;
  HELIUM_ASSIGN(id.tenant, parse_tenant_id(request.params.at("tenant_id")));
  HELIUM_ASSIGN(id.timeline, parse_timeline_id(request.params.at("timeline_id")));
  return id;
}

json describe(const Tenants::Entry& entry) {
  json info = {{"tenant_id", to_string(entry.id.tenant)}, {"timeline_id", to_string(entry.id.timeline)}};
  if (entry.ancestor_id) info["ancestor_timeline_id"] = to_string(*entry.ancestor_id);
  if (!entry.timeline) {
    info["state"] = "Broken";
    info["reason"] = entry.broken;
    return info;
  }
  const Timeline& timeline = *entry.timeline;
  const layer::StoreStats stats = timeline.store()->stats();
  info["state"] = "Active";
  if (timeline.ancestor())
    info["ancestor_lsn"] = to_string(timeline.ancestor_lsn());
  else
    info["initdb_lsn"] = to_string(timeline.start_lsn());
  info["pg_version"] = timeline.pg_version();
  if (const Result<bool> checksums = timeline.data_checksums()) info["data_checksums"] = *checksums;
  info["system_identifier"] = std::to_string(timeline.system_identifier());
  info["last_record_lsn"] = to_string(timeline.last_record_lsn());
  info["readable_lsn"] = to_string(timeline.readable_lsn());
  info["disk_consistent_lsn"] = to_string(timeline.disk_consistent_lsn());
  info["latest_term"] = timeline.latest_term();
  info["wal_source"] = entry.receiver->source();
  info["ingest_error"] = timeline.ingest_error();
  info["layers"] = {{"open_bytes", stats.open_bytes},
                    {"frozen", stats.frozen_layers},
                    {"delta", stats.delta_layers},
                    {"image", stats.image_layers},
                    {"file_bytes", stats.layer_file_bytes},
                    {"flush_errors", stats.flush_errors}};
  return info;
}

Result<json> create_tenant(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const json body, parse_body(request));
  HELIUM_ASSIGN(const std::string text, text_field(body, "new_tenant_id"));
  HELIUM_ASSIGN(const TenantId id, parse_tenant_id(text));
  HELIUM_TRY(tenants.create_tenant(id));
  return json(to_string(id));
}

Result<json> list_timelines(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const TenantId tenant, parse_tenant_id(request.params.at("tenant_id")));
  HELIUM_ASSIGN(const auto entries, tenants.list_timelines(tenant));
  json list = json::array();
  for (const Tenants::Entry& entry : entries) list.push_back(describe(entry));
  return list;
}

Result<Tenants::NewTimeline> parse_new_timeline(const json& body) {
  Tenants::NewTimeline wanted;
  HELIUM_ASSIGN(const std::string id, text_field(body, "new_timeline_id"));
  HELIUM_ASSIGN(wanted.id, parse_timeline_id(id));
  const auto given = [&](const char* name) { return body.contains(name) && !body[name].is_null(); };
  if (given("pg_version")) {
    if (!body["pg_version"].is_number_integer())
      return fail(ErrorCode::kInvalid, "pg_version must be a number, like 15");
    wanted.pg_version = body["pg_version"].get<int>();
    HELIUM_TRY(check_pg_version(*wanted.pg_version));
  }
  if (given("data_checksums")) {
    if (!body["data_checksums"].is_boolean()) return fail(ErrorCode::kInvalid, "data_checksums must be true or false");
    wanted.data_checksums = body["data_checksums"].get<bool>();
  }
  if (given("ancestor_timeline_id")) {
    HELIUM_ASSIGN(const std::string ancestor, text_field(body, "ancestor_timeline_id"));
    HELIUM_ASSIGN(wanted.ancestor_id, parse_timeline_id(ancestor));
  }
  if (given("ancestor_start_lsn")) {
    HELIUM_ASSIGN(const std::string lsn, text_field(body, "ancestor_start_lsn"));
    HELIUM_ASSIGN(wanted.ancestor_start_lsn, parse_lsn(lsn));
  }
  if (given("exact")) {
    if (!body["exact"].is_boolean()) return fail(ErrorCode::kInvalid, "exact must be true or false");
    wanted.exact = body["exact"].get<bool>();
  }
  return wanted;
}

Result<json> create_timeline(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const TenantId tenant, parse_tenant_id(request.params.at("tenant_id")));
  HELIUM_ASSIGN(const json body, parse_body(request));
  HELIUM_ASSIGN(const Tenants::NewTimeline wanted, parse_new_timeline(body));
  HELIUM_TRY(tenants.create_timeline(tenant, wanted));
  HELIUM_ASSIGN(const auto entry, tenants.find_entry({tenant, wanted.id}));
  return describe(entry);
}

Result<json> show_timeline(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_ASSIGN(const auto entry, tenants.find_entry(id));
  return describe(entry);
}

Result<json> checkpoint(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_ASSIGN(const auto timeline, tenants.find(id));
  HELIUM_TRY(timeline->checkpoint());
  return json{{"disk_consistent_lsn", to_string(timeline->disk_consistent_lsn())}};
}

// Counts by record type, with sums.
json describe(const std::map<std::string, Oracle::Count>& counts) {
  json types = json::object();
  Oracle::Count sum;
  for (const auto& [type, count] : counts) {
    sum.compared += count.compared;
    sum.differences += count.differences;
    sum.refused += count.refused;
    sum.unchecked += count.unchecked;
    types[type] = {{"compared", count.compared},
                   {"differences", count.differences},
                   {"refused", count.refused},
                   {"unchecked", count.unchecked}};
    if (count.differences > 0) types[type]["first_difference"] = count.first_difference;
  }
  return {{"compared", sum.compared},
          {"differences", sum.differences},
          {"refused", sum.refused},
          {"unchecked", sum.unchecked},
          {"records", types}};
}

Result<json> oracle(Tenants& tenants, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_ASSIGN(const auto timeline, tenants.find(id));
  if (!timeline->oracle())
    return fail(ErrorCode::kInvalid, "this pageserver does not check redo; start it with --check-redo, or verify stored WAL");
  json answer = describe(timeline->oracle()->counts());
  answer["last_record_lsn"] = to_string(timeline->last_record_lsn());
  return answer;
}

const char* name_of(VerifyState::Phase phase) {
  switch (phase) {
    case VerifyState::Phase::kRecords: return "records";
    case VerifyState::Phase::kPages: return "pages";
    case VerifyState::Phase::kDone: return "done";
    case VerifyState::Phase::kFailed: return "failed";
    case VerifyState::Phase::kCanceled: return "canceled";
  }
  return "";
}

json describe(const VerifyState& state) {
  json answer = {{"state", name_of(state.phase)},
                 {"from_lsn", to_string(state.from_lsn)},
                 {"to_lsn", to_string(state.to_lsn)},
                 {"done", state.done},
                 {"all", state.all}};
  if (!state.error.empty()) answer["error"] = state.error;
  json first = json::array();
  uint64_t differences = 0;
  if (state.request.records) {
    json records = describe(state.records);
    differences += records["differences"].get<uint64_t>();
    records["records_read"] = state.records_read;
    records["wal_bytes_read"] = state.wal_bytes_read;
    answer["records"] = std::move(records);
    for (const Oracle::Difference& difference : state.record_differences)
      first.push_back({{"what", difference.what},
                       {"lsn", to_string(difference.record_end_lsn)},
                       {"record", difference.type},
                       {"detail", difference.detail}});
  }
  if (state.request.pages) {
    const PageFindings& found = state.pages;
    constexpr const char* kForks[] = {"main", "fsm", "vm", "init"};
    json forks = json::object(), slru = json::object();
    for (size_t fork = 0; fork < found.pages.size(); ++fork)
      if (fork != static_cast<size_t>(pg::Fork::kFsm)) forks[kForks[fork]] = found.pages[fork];
    for (const auto& [folder, pages] : found.slru_pages) slru[folder] = pages;
    differences += found.differences;
    answer["pages"] = {{"forks", found.forks},           {"by_fork", forks},       {"zero", found.zero_pages},
                       {"slru", slru},                   {"map_bits", found.map_bits},
                       {"differences", found.differences}};
    for (const PageFindings::Difference& difference : found.first_differences)
      first.push_back({{"what", difference.what}, {"lsn", to_string(state.to_lsn)}, {"detail", difference.detail}});
  }
  answer["differences"] = differences;
  answer["first_differences"] = first;
  return answer;
}

Result<VerifyRequest> parse_verify_request(const http::Request& request) {
  VerifyRequest wanted;
  if (request.body.empty()) return wanted;
  HELIUM_ASSIGN(const json body, parse_body(request));
  for (const auto& [name, value] : body.items()) {
    if (name == "from_lsn" || name == "to_lsn") {
      HELIUM_ASSIGN(const std::string text, text_field(body, name.c_str()));
      HELIUM_ASSIGN((name == "from_lsn" ? wanted.from_lsn : wanted.to_lsn), parse_lsn(text));
    } else if (name == "records" || name == "pages") {
      if (!value.is_boolean()) return fail(ErrorCode::kInvalid, name + " must be true or false");
      (name == "records" ? wanted.records : wanted.pages) = value.get<bool>();
    } else if (name == "safekeepers" && value.is_array()) {
      for (const json& address : value) {
        if (!address.is_string()) return fail(ErrorCode::kInvalid, "safekeepers are texts, \"HOST:PORT\"");
        HELIUM_ASSIGN(HostPort safekeeper, parse_host_port(address.get<std::string>()));
        wanted.safekeepers.push_back(std::move(safekeeper));
      }
    } else {
      return fail(ErrorCode::kInvalid, fmt::format("'{}' is none of from_lsn, to_lsn, records, pages, safekeepers", name));
    }
  }
  return wanted;
}

Result<json> start_verification(Verifications& verifications, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_ASSIGN(const VerifyRequest wanted, parse_verify_request(request));
  HELIUM_TRY(verifications.start(id, wanted));
  HELIUM_ASSIGN(const VerifyState state, verifications.state(id));
  return describe(state);
}

Result<json> show_verification(Verifications& verifications, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_ASSIGN(const VerifyState state, verifications.state(id));
  return describe(state);
}

Result<json> cancel_verification(Verifications& verifications, const http::Request& request) {
  HELIUM_ASSIGN(const TenantTimelineId id, ids_of(request));
  HELIUM_TRY(verifications.cancel(id));
  return json::object();
}

}  // namespace

void add_routes(http::Server& server, Tenants& tenants, Verifications& verifications, uint64_t pageserver_id) {
  server.set_status([&tenants, pageserver_id] {
    return json{{"id", pageserver_id}, {"status", "running"}, {"tenants", tenants.list_tenants().size()}}.dump();
  });
  server.route("GET", "/v1/tenant", [&tenants](const http::Request&) {
    json list = json::array();
    for (const TenantId& id : tenants.list_tenants()) list.push_back({{"id", to_string(id)}, {"state", "Active"}});
    return answer(200, list);
  });
  server.route("POST", "/v1/tenant",
               [&tenants](const http::Request& request) { return answer(create_tenant(tenants, request), 201); });
  server.route("GET", "/v1/tenant/:tenant_id/timeline",
               [&tenants](const http::Request& request) { return answer(list_timelines(tenants, request)); });
  server.route("POST", "/v1/tenant/:tenant_id/timeline",
               [&tenants](const http::Request& request) { return answer(create_timeline(tenants, request), 201); });
  server.route("GET", "/v1/tenant/:tenant_id/timeline/:timeline_id",
               [&tenants](const http::Request& request) { return answer(show_timeline(tenants, request)); });
  server.route("PUT", "/v1/tenant/:tenant_id/timeline/:timeline_id/checkpoint",
               [&tenants](const http::Request& request) { return answer(checkpoint(tenants, request)); });
  server.route("GET", "/v1/tenant/:tenant_id/timeline/:timeline_id/oracle",
               [&tenants](const http::Request& request) { return answer(oracle(tenants, request)); });
  constexpr const char* kVerify = "/v1/tenant/:tenant_id/timeline/:timeline_id/verify";
  server.route("POST", kVerify, [&verifications](const http::Request& request) {
    return answer(start_verification(verifications, request), 202);
  });
  server.route("GET", kVerify,
               [&verifications](const http::Request& request) { return answer(show_verification(verifications, request)); });
  server.route("DELETE", kVerify, [&verifications](const http::Request& request) {
    return answer(cancel_verification(verifications, request), 202);
  });
}

}  // namespace helium::pageserver
