#include "cli/storage_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/names.h"
#include "http/client.h"
#include "wire/membership_json.h"

namespace helium::cli {
namespace {

using nlohmann::json;

constexpr Timeout kQuickTimeout = std::chrono::seconds(2);
constexpr Timeout kCreateTimeout = std::chrono::seconds(120);  // an initdb may run behind it
constexpr auto kStragglerGrace = std::chrono::milliseconds(50);

Error foreign_answer(const HostPort& server, std::string_view what) {
  return Error{ErrorCode::kInvalid, fmt::format("what answers at {} is not {}: is the port taken by something else?",
                                                to_string(server), what)};
}

Result<json> call(const HostPort& server, std::string_view what, std::string_view method, const std::string& path,
                  const std::string& body, Timeout timeout) {
  Result<std::string> answer = http::expect_ok(http::request(server, method, path, body, timeout));
  if (!answer) {
    Error error = std::move(answer).error();
    if (error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout) {
      error.message = fmt::format("{} does not answer at {} ({})", what, to_string(server), error.message);
    }
    // Our daemons explain their errors; a bare status with a page of HTML comes from somebody else.
    if (error.message.starts_with("HTTP status ")) return fail(foreign_answer(server, what));
    return fail(std::move(error));
  }
  if (answer->empty()) return json();
  json parsed = json::parse(*answer, nullptr, false);
  if (parsed.is_discarded()) return fail(foreign_answer(server, what));
  return parsed;
}

Result<json> call_pageserver(const ClusterConfig& config, std::string_view method, const std::string& path,
                             const json& body = nullptr, Timeout timeout = kCreateTimeout) {
  Result<json> answer = call(config.pageserver_http(), "the pageserver", method, path,
                             body.is_null() ? std::string() : body.dump(), timeout);
  if (!answer && answer.error().code == ErrorCode::kUnavailable) {
    answer.error().message += ": start it with 'helium start'";
  }
  return answer;
}

Result<json> call_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, std::string_view method,
                             const std::string& path, const json& body, Timeout timeout) {
  const SafekeeperConfig* safekeeper = config.find_safekeeper(safekeeper_id);
  if (safekeeper == nullptr) return fail(ErrorCode::kNotFound, fmt::format("there is no safekeeper {}", safekeeper_id));
  return call({config.host, safekeeper->http_port}, fmt::format("safekeeper {}", safekeeper_id), method, path,
              body.is_null() ? std::string() : body.dump(), timeout);
}

std::string timeline_path(const TenantTimelineId& id) {
  return fmt::format("/v1/tenant/{}/timeline/{}", to_string(id.tenant), to_string(id.timeline));
}

Result<Lsn> lsn_field(const json& object, const char* name) {
  if (!object.contains(name) || !object[name].is_string()) {
    return fail(ErrorCode::kInvalid, fmt::format("the answer has no field '{}': {}", name, object.dump().substr(0, 200)));
  }
  return parse_lsn(object[name].get<std::string>());
}

uint64_t number_field(const json& object, const char* name) {
  return object.contains(name) && object[name].is_number() ? object[name].get<uint64_t>() : 0;
}

Result<PageserverTimeline> decode_timeline(const json& answer) {
  PageserverTimeline timeline;
  if (!answer.is_object() || !answer.contains("timeline_id") || !answer["timeline_id"].is_string()) {
    return fail(ErrorCode::kInvalid, "the pageserver's answer names no timeline_id");
  }
  HELIUM_ASSIGN(timeline.id, parse_timeline_id(answer["timeline_id"].get<std::string>()));
  const bool is_branch = answer.contains("ancestor_timeline_id") && answer["ancestor_timeline_id"].is_string();
  HELIUM_ASSIGN(timeline.start_lsn, lsn_field(answer, is_branch ? "ancestor_lsn" : "initdb_lsn"));
  HELIUM_ASSIGN(timeline.last_record_lsn, lsn_field(answer, "last_record_lsn"));
  HELIUM_ASSIGN(timeline.disk_consistent_lsn, lsn_field(answer, "disk_consistent_lsn"));
  if (answer.contains("system_identifier") && answer["system_identifier"].is_string()) {
    timeline.system_id = answer["system_identifier"].get<std::string>();
  }
  return timeline;
}

Result<SafekeeperTimeline> decode_safekeeper_timeline(uint64_t safekeeper_id, const json& answer) {
  if (!answer.is_object()) return fail(ErrorCode::kInvalid, "the safekeeper's answer is no object");
  SafekeeperTimeline timeline;
  timeline.safekeeper_id = safekeeper_id;
  timeline.log_term = number_field(answer, "log_term");
  HELIUM_ASSIGN(timeline.flush_lsn, lsn_field(answer, "flush_lsn"));
  HELIUM_ASSIGN(timeline.commit_lsn, lsn_field(answer, "commit_lsn"));
  HELIUM_ASSIGN(timeline.membership, wire::decode_membership_json(answer.value("membership", json()).dump()));
  timeline.filling = answer.value("filling", false);
  timeline.term = answer.value("term", uint64_t{0});
  if (answer.contains("term_history") && answer["term_history"].is_array()) {
    for (const json& entry : answer["term_history"]) {
      HELIUM_ASSIGN(const Lsn lsn, lsn_field(entry, "lsn"));
      timeline.term_history.push_back({number_field(entry, "term"), lsn});
    }
  }
  return timeline;
}

// Asks several safekeepers at once, each on a thread of its own. A thread that waits for a silent member may
// outlive the call: it owns a share of all that it touches.
template <typename Answer, typename Ask>
std::vector<Answer> ask_all(const std::vector<uint64_t>& members, Ask ask) {
  struct Round {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Answer> answers;
    size_t finished = 0;
  };
  const auto round = std::make_shared<Round>();
  for (const uint64_t member : members) {
    std::thread([round, member, ask] {
      Result<Answer> answer = ask(member);
      const std::lock_guard lock(round->mutex);
      if (answer) round->answers.push_back(std::move(*answer));
      ++round->finished;
      round->changed.notify_all();
    }).detach();
  }
  std::unique_lock lock(round->mutex);
  const auto all_finished = [&] { return round->finished == members.size(); };
  const auto has_majority = [&] { return round->answers.size() > members.size() / 2; };
  round->changed.wait(lock, [&] { return all_finished() || has_majority(); });
  round->changed.wait_for(lock, kStragglerGrace, all_finished);
  return round->answers;
}

}  // namespace

Status check_pageserver(const ClusterConfig& config) {
  HELIUM_ASSIGN([[maybe_unused]] const json answer, call_pageserver(config, "GET", "/v1/status", nullptr, kQuickTimeout));
  return {};
}

Status create_tenant(const ClusterConfig& config, const TenantId& tenant) {
  HELIUM_ASSIGN([[maybe_unused]] const json answer,
                call_pageserver(config, "POST", "/v1/tenant", {{"new_tenant_id", to_string(tenant)}}));
  return {};
}

Result<PageserverTimeline> create_root_timeline(const ClusterConfig& config, const TenantTimelineId& id,
                                                const NewCluster& wanted) {
  json order{{"new_timeline_id", to_string(id.timeline)}, {"pg_version", wanted.pg_version}};
  if (wanted.data_checksums) order["data_checksums"] = *wanted.data_checksums;
  HELIUM_ASSIGN(const json answer,
                call_pageserver(config, "POST", fmt::format("/v1/tenant/{}/timeline", to_string(id.tenant)), order));
  return decode_timeline(answer);
}

Result<PageserverTimeline> create_branch(const ClusterConfig& config, const TenantTimelineId& id, const BranchPoint& at) {
  HELIUM_ASSIGN(const json answer,
                call_pageserver(config, "POST", fmt::format("/v1/tenant/{}/timeline", to_string(id.tenant)),
                                {{"new_timeline_id", to_string(id.timeline)},
                                 {"ancestor_timeline_id", to_string(at.ancestor_id)},
                                 {"ancestor_start_lsn", to_string(at.lsn)},
                                 {"exact", at.exact}}));
  return decode_timeline(answer);
}

Result<PageserverTimeline> pageserver_timeline(const ClusterConfig& config, const TenantTimelineId& id) {
  HELIUM_ASSIGN(const json answer, call_pageserver(config, "GET", timeline_path(id), nullptr, kQuickTimeout));
  return decode_timeline(answer);
}

Result<std::string> start_verification(const ClusterConfig& config, const TenantTimelineId& id, const std::string& body) {
  HELIUM_ASSIGN(const json answer, call_pageserver(config, "POST", timeline_path(id) + "/verify", json::parse(body)));
  return answer.dump();
}

Result<std::string> verification_state(const ClusterConfig& config, const TenantTimelineId& id) {
  HELIUM_ASSIGN(const json answer, call_pageserver(config, "GET", timeline_path(id) + "/verify"));
  return answer.dump();
}

Status cancel_verification(const ClusterConfig& config, const TenantTimelineId& id) {
  HELIUM_ASSIGN([[maybe_unused]] const json answer, call_pageserver(config, "DELETE", timeline_path(id) + "/verify"));
  return {};
}

std::vector<uint64_t> reachable_safekeepers(const ClusterConfig& config) {
  return ask_all<uint64_t>(config.active_safekeepers(), [config](uint64_t id) -> Result<uint64_t> {
    HELIUM_ASSIGN([[maybe_unused]] const json answer,
                  call_safekeeper(config, id, "GET", "/v1/status", nullptr, kQuickTimeout));
    return id;
  });
}

Status check_safekeeper_majority(const ClusterConfig& config) {
  const std::vector<uint64_t> reachable = reachable_safekeepers(config);
  if (reachable.size() > config.active_safekeepers().size() / 2) return {};
  std::vector<std::string> silent;
  for (const uint64_t id : config.active_safekeepers()) {
    if (std::ranges::find(reachable, id) == reachable.end()) silent.push_back(std::to_string(id));
  }
  return fail(ErrorCode::kUnavailable,
              fmt::format("no majority of safekeepers, {} of {} answer (silent: {}): start them with 'helium start'",
                          reachable.size(), config.active_safekeepers().size(), join_names(silent)));
}

Status create_on_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const TenantId& tenant,
                            const TimelineConfig& timeline) {
  json members = json::array();
  for (const uint64_t id : timeline.members) {
    const SafekeeperConfig* member = config.find_safekeeper(id);
    if (member == nullptr) return fail(ErrorCode::kNotFound, fmt::format("there is no safekeeper {}", id));
    const SafekeeperAddress address = config.address_for_others(*member);
    members.push_back(
        {{"id", id}, {"host", address.host}, {"pg_port", address.pg_port}, {"http_port", address.http_port}});
  }
  const json body{{"tenant_id", to_string(tenant)},        {"timeline_id", to_string(timeline.id)},
                  {"pg_version", timeline.pg_version},     {"system_id", timeline.system_id},
                  {"start_lsn", to_string(timeline.start_lsn)}, {"members", std::move(members)},
                  {"generation", timeline.generation}};
  HELIUM_ASSIGN([[maybe_unused]] const json answer,
                call_safekeeper(config, safekeeper_id, "POST", "/v1/tenant/timeline", body, kCreateTimeout));
  return {};
}

std::vector<SafekeeperTimeline> ask_safekeepers(const ClusterConfig& config, const std::vector<uint64_t>& members,
                                                const TenantTimelineId& id) {
  return ask_all<SafekeeperTimeline>(members, [config, id](uint64_t member) -> Result<SafekeeperTimeline> {
    HELIUM_ASSIGN(const json answer, call_safekeeper(config, member, "GET", timeline_path(id), nullptr, kQuickTimeout));
    return decode_safekeeper_timeline(member, answer);
  });
}

Result<std::string> get_from_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const std::string& path) {
  HELIUM_ASSIGN(const json answer, call_safekeeper(config, safekeeper_id, "GET", path, nullptr, kQuickTimeout));
  return answer.dump();
}

Status catch_up_safekeeper(const ClusterConfig& config, uint64_t safekeeper_id, const TenantTimelineId& id,
                           const SafekeeperTimeline& donor, Lsn upto) {
  const SafekeeperConfig* peer = config.find_safekeeper(donor.safekeeper_id);
  if (peer == nullptr) return fail(ErrorCode::kNotFound, fmt::format("there is no safekeeper {}", donor.safekeeper_id));
  json history = json::array();
  for (const TermStart& entry : donor.term_history) {
    history.push_back({{"term", entry.term}, {"lsn", to_string(entry.lsn)}});
  }
  const json body{{"peer", to_string(config.address_for_others(*peer).pg())},
                  {"log_term", donor.log_term},
                  {"term_history", std::move(history)},
                  {"upto_lsn", to_string(upto)}};
  HELIUM_ASSIGN([[maybe_unused]] const json answer,
                call_safekeeper(config, safekeeper_id, "POST", timeline_path(id) + "/catch_up", body, std::chrono::seconds(20)));
  return {};
}

}  // namespace helium::cli
