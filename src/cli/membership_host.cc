#include "cli/membership_host.h"

#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "http/client.h"
#include "wire/membership_json.h"

namespace helium::cli {
namespace {

using nlohmann::json;
using walclient::MembershipChange;
using Clock = std::chrono::steady_clock;

constexpr Timeout kAnswerTimeout = std::chrono::seconds(2);
constexpr Timeout kCatchUpTimeout = std::chrono::seconds(60);
constexpr auto kStragglerGrace = std::chrono::milliseconds(50);
constexpr auto kStandstillMax = std::chrono::seconds(60);
constexpr size_t kOutstandingMax = 2;  // requests to one safekeeper that are not answered

struct Call {
  HostPort server;
  std::string method, path, body;
  Timeout timeout = kAnswerTimeout;
};

struct Answer {
  uint64_t from = 0;
  Result<std::string> body = fail(ErrorCode::kInternal, "");
  bool is_delete = false;
};

// Answers may come long after their round: then they are for a later one. Threads own a share of it.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<Answer> answers;
  std::map<uint64_t, size_t> outstanding;
};

// For tests: the process dies, as by power cut, after so many messages of changes.
struct Failpoint {
  explicit Failpoint(const char* variable) {
    if (const char* text = getenv(variable)) left = std::atoi(text);
  }
  void message() {
    if (left > 0 && --left == 0) raise(SIGKILL);
  }
  int left = 0;
};

class Host {
 public:
  Host(const ClusterConfig& config, const TenantId& tenant, const TimelineConfig& timeline,
       MembershipChange::Config order, const std::function<void(const std::string&)>& say)
      : config_(config),
        id_{tenant, timeline.id},
        timeline_(timeline),
        change_(std::move(order)),
        say_(say) {}

  Result<wire::Membership> run() {
    auto moved_at = Clock::now();
    std::string seen;
    while (!change_.is_over()) {
      round();
      change_.advance();
      const std::string now = describe();
      if (now != seen) {
        moved_at = Clock::now();
        report();
      } else if (!change_.is_over()) {
        if (Clock::now() - moved_at > kStandstillMax) return fail(ErrorCode::kTimeout, standstill());
        pause();
      }
      seen = now;
    }
    if (change_.state() == MembershipChange::State::kFailed) return fail(ErrorCode::kInvalid, change_.error());
    return *change_.newest();
  }

 private:
  // -- one round ------------------------------------------------------------------------------------------------------
  void round() {
    size_t begun = 0;
    for (const MembershipChange::Request& request : change_.requests()) {
      {
        const std::lock_guard lock(mailbox_->mutex);
        size_t& outstanding = mailbox_->outstanding[request.to.id];
        if (outstanding >= kOutstandingMax) continue;
        ++outstanding;
      }
      ++begun;
      if (failpoint_.left > 0) {
        perform(mailbox_, call_of(request), request.to.id, is_delete(request), follow_up(request));
        failpoint_.message();
      } else {
        std::thread(perform, mailbox_, call_of(request), request.to.id, is_delete(request), follow_up(request)).detach();
      }
    }
    std::unique_lock lock(mailbox_->mutex);
    const auto has = [&](size_t count) { return mailbox_->answers.size() >= count; };
    mailbox_->arrived.wait_for(lock, kAnswerTimeout, [&] { return has(begun) || has(begun / 2 + 1); });
    mailbox_->arrived.wait_for(lock, kStragglerGrace, [&] { return has(begun); });
    lock.unlock();
    take_answers();
  }

  void take_answers() {
    std::vector<Answer> answers;
    {
      const std::lock_guard lock(mailbox_->mutex);
      answers.swap(mailbox_->answers);
    }
    for (const Answer& answer : answers) {
      if (!answer.body) {
        if (answer.body.error().code == ErrorCode::kNotFound && !answer.is_delete) change_.on_missing(answer.from);
        if (answer.body.error().code == ErrorCode::kNotFound && answer.is_delete) change_.on_deleted(answer.from);
        last_errors_[answer.from] = answer.body.error().message;
      } else if (answer.is_delete) {
        change_.on_deleted(answer.from);
      } else if (const auto reply = wire::decode_membership_reply_json(*answer.body)) {
        last_errors_.erase(answer.from);
        change_.on_reply(answer.from, *reply);
      } else {
        last_errors_[answer.from] = reply.error().message;
      }
    }
  }

  static void perform(const std::shared_ptr<Mailbox>& mailbox, const Call& call, uint64_t to, bool is_delete,
                      const std::optional<Call>& then) {
    Answer answer{.from = to, .is_delete = is_delete};
    answer.body = http::expect_ok(http::request(call.server, call.method, call.path, call.body, call.timeout));
    if (then) answer.body = http::expect_ok(http::request(then->server, then->method, then->path, "", then->timeout));
    const std::lock_guard lock(mailbox->mutex);
    mailbox->answers.push_back(std::move(answer));
    --mailbox->outstanding[to];
    mailbox->arrived.notify_all();
  }

  // -- messages as HTTP -----------------------------------------------------------------------------------------------
  static bool is_delete(const MembershipChange::Request& request) {
    return std::holds_alternative<MembershipChange::Delete>(request.message);
  }
  HostPort address_of(const wire::Member& member) const {
    const SafekeeperConfig* known = config_.find_safekeeper(member.id);
    return known ? HostPort{config_.host, known->http_port} : HostPort{member.host, member.http_port};
  }
  std::string path(const char* what = "") const {
    return fmt::format("/v1/tenant/{}/timeline/{}{}", to_string(id_.tenant), to_string(id_.timeline), what);
  }
  Call ask(const wire::Member& member) const { return {address_of(member), "GET", path("/membership"), ""}; }
  // A catch-up's answer is not of our kind, and does not matter.
  std::optional<Call> follow_up(const MembershipChange::Request& request) const {
    if (!std::holds_alternative<MembershipChange::CatchUp>(request.message)) return std::nullopt;
    return ask(request.to);
  }

  Call call_of(const MembershipChange::Request& request) const {
    struct Visitor {
      const Host& host;
      const wire::Member& to;
      Call post(const char* what, std::string body) const {
        return {host.address_of(to), "POST", host.path(what), std::move(body)};
      }
      Call operator()(const MembershipChange::Ask&) const { return host.ask(to); }
      Call operator()(const wire::PrepareRequest& m) const { return post("/membership/prepare", wire::encode_json(m)); }
      Call operator()(const wire::AcceptRequest& m) const { return post("/membership/accept", wire::encode_json(m)); }
      Call operator()(const wire::FillRequest& m) const { return post("/membership/fill", wire::encode_json(m)); }
      Call operator()(const MembershipChange::Create& m) const {
        return {host.address_of(to), "POST", "/v1/tenant/timeline", host.create_body(m.request)};
      }
      Call operator()(const MembershipChange::CatchUp& m) const {
        Call call = post("/catch_up", host.catch_up_body(m));
        call.timeout = kCatchUpTimeout;
        return call;
      }
      Call operator()(const MembershipChange::Delete&) const { return {host.address_of(to), "DELETE", host.path(), ""}; }
    };
    return std::visit(Visitor{*this, request.to}, request.message);
  }
  std::string create_body(const wire::AcceptRequest& request) const {
    json body = json::parse(wire::encode_json(request));
    body["tenant_id"] = to_string(id_.tenant);
    body["timeline_id"] = to_string(id_.timeline);
    body["pg_version"] = timeline_.pg_version;
    body["system_id"] = timeline_.system_id;
    body["start_lsn"] = to_string(timeline_.start_lsn);
    return body.dump();
  }
  std::string catch_up_body(const MembershipChange::CatchUp& order) const {
    json history = json::array();
    for (const TermSwitch& entry : order.history) {
      history.push_back({{"term", entry.term}, {"lsn", to_string(entry.lsn)}});
    }
    return json{{"peer", to_string(HostPort{order.donor.host, order.donor.pg_port})},
                {"generation", order.generation},
                {"log_term", order.log_term},
                {"term_history", std::move(history)},
                {"upto_lsn", to_string(order.upto_lsn)}}
        .dump();
  }

  // -- for people -----------------------------------------------------------------------------------------------------
  std::string describe() const {
    const wire::Membership* membership = change_.newest();
    return fmt::format("{} {} {}", to_string(change_.state()), membership ? wire::to_string(*membership) : "",
                       to_string(change_.progress().flush_lsn));
  }
  void report() {
    const auto progress = change_.progress();
    std::string line = to_string(change_.state());
    if (change_.state() == MembershipChange::State::kFilling && progress.target_lsn.is_valid()) {
      line += fmt::format(": {} of {}", to_string(progress.flush_lsn), to_string(progress.target_lsn));
    }
    if (const wire::Membership* membership = change_.newest()) line += fmt::format(" ({})", wire::to_string(*membership));
    if (line != reported_) say_(line);
    reported_ = line;
  }
  std::string standstill() const {
    std::string text = fmt::format("nothing moved for {} s while {}: {}", kStandstillMax.count(),
                                   to_string(change_.state()), change_.waits_for());
    for (const auto& [id, error] : last_errors_) text += fmt::format("; safekeeper {}: {}", id, error);
    return text + ". Nothing is lost, commits go on; start the safekeepers that do not answer and give the same command again";
  }
  void pause() const {
    const auto shortest = change_.was_outbid() ? 50 : 10;
    std::this_thread::sleep_for(std::chrono::milliseconds(shortest + random_u64() % (change_.was_outbid() ? 250 : 40)));
  }

  const ClusterConfig& config_;
  const TenantTimelineId id_;
  const TimelineConfig& timeline_;
  MembershipChange change_;
  const std::function<void(const std::string&)>& say_;
  std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::map<uint64_t, std::string> last_errors_;
  std::string reported_;
  static Failpoint failpoint_;
};

Failpoint Host::failpoint_{"HELIUM_CHANGE_DIES_AFTER_MESSAGES"};

}  // namespace

std::vector<wire::Member> known_members(const ClusterConfig& config) {
  std::vector<wire::Member> members;
  for (const SafekeeperConfig& safekeeper : config.safekeepers) {
    const SafekeeperAddress address = config.address_for_others(safekeeper);
    members.push_back({safekeeper.id, address.host, address.pg_port, address.http_port});
  }
  return members;
}

Result<wire::Membership> run_membership_change(const ClusterConfig& config, const TenantId& tenant,
                                               const TimelineConfig& timeline, MembershipChange::Config order,
                                               const std::function<void(const std::string&)>& say) {
  return Host(config, tenant, timeline, std::move(order), say).run();
}

}  // namespace helium::cli
