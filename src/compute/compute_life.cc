#include "compute/compute_life.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <future>

#include "base/log.h"
#include "compute/auxiliary_files.h"
#include "compute/old_wal.h"
#include "io/durable_file.h"
#include "pg/origin_file.h"

namespace helium::compute {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kElectionPatience{5000};  // of one attempt
constexpr milliseconds kWalWait{200};            // bounds how long stopping the shipper takes
constexpr uint32_t kTemplate1 = 1;               // its relations are the catalogs of databases that nobody changed
constexpr int kEndSeconds = 10;
constexpr milliseconds kLastFilesPatience{5000};

bool definite(ErrorCode code) {
  return code == ErrorCode::kNotFound || code == ErrorCode::kInvalid || code == ErrorCode::kTooNew;
}

// The databases whose catalogs a first connection reads: the shared ones, and "postgres". template1 is left out.
std::vector<uint32_t> databases_to_prewarm(const wire::BootstrapReply& bootstrap) {
  std::vector<uint32_t> databases = {0};
  for (const std::string& folder : bootstrap.folders) {
    constexpr std::string_view kBase = "base/";
    if (!folder.starts_with(kBase)) continue;
    const uint32_t database = static_cast<uint32_t>(std::strtoul(folder.c_str() + kBase.size(), nullptr, 10));
    // initdb makes template1, template0 and postgres, in this order; others are for those who connect to them.
    if (database > kTemplate1 && database < 16384) databases.push_back(database);
  }
  // Of template0 and postgres, postgres has the higher number.
  if (databases.size() > 2) databases.erase(databases.begin() + 1, std::max_element(databases.begin() + 1, databases.end()));
  databases.resize(std::min<size_t>(databases.size(), 2));
  return databases;
}

// HELIUM_PREWARM=off, to measure what the warm start is worth.
bool prewarm_wanted() {
  const char* value = std::getenv("HELIUM_PREWARM");
  return value == nullptr || std::string_view(value) != "off";
}

int32_t count_prepared_transactions(const wire::BootstrapReply& bootstrap) {
  return static_cast<int32_t>(std::ranges::count_if(
      bootstrap.files, [](const wire::BootstrapFile& file) { return file.path.starts_with("pg_twophase/"); }));
}

Result<int32_t> count_replication_origins(const wire::BootstrapReply& bootstrap) {
  const auto file = std::ranges::find(bootstrap.files, std::string_view(pg::kOriginFile), &wire::BootstrapFile::path);
  if (file == bootstrap.files.end()) return 0;
  HELIUM_ASSIGN(const auto origins, pg::decode_origin_file(file->content));
  return static_cast<int32_t>(origins.size());
}

}  // namespace

ComputeLife::ComputeLife(const EndpointSpec& spec, std::vector<walclient::Safekeeper> wal_service, Wake wake)
    : spec_(spec), wake_(std::move(wake)), wal_service_(std::move(wal_service)) {
  if (!wal_service_.empty()) return;
  for (const SafekeeperAddress& member : spec_.safekeepers) wal_service_.push_back({member.id, member.wal});
}

ComputeLife::~ComputeLife() { end(); }

void ComputeLife::on_fenced(uint64_t newer_term) {
  if (fenced_.exchange(true)) return;
  kill_postgres();
  log::info("fenced: another compute took this timeline over", {{"timeline", spec_.timeline.timeline},
                                                                {"term", term_.load()}, {"newer_term", newer_term}});
  wake_();
}

void ComputeLife::kill_postgres() {
  const std::lock_guard lock(mutex_);
  if (!cache_) return;
  cache_->fence();
  cache_->kill_all();
}

void ComputeLife::cancel() {
  canceled_ = true;
  std::shared_ptr<walclient::WalProposer> proposer;
  std::shared_ptr<PageClient> client;
  {
    // Not under the lock: their threads may be on the way to kill_postgres().
    const std::lock_guard lock(mutex_);
    proposer = proposer_;
    client = client_;
  }
  if (proposer) proposer->stop();
  if (client) client->stop();
}

// ---- start

Result<walclient::WalProposer::Elected> ComputeLife::elect() {
  bool complained = false;
  while (true) {
    walclient::WalProposer::Options options;
    options.timeline = spec_.timeline;
    options.pg_version = spec_.pg_version;
    const std::vector<walclient::Safekeeper> known = wal_service();
    options.safekeepers = known;
    options.on_fenced = [this](uint64_t newer_term) { on_fenced(newer_term); };
    options.on_commit = [this](Lsn commit_lsn) {
      if (WalShipper* shipper = shipping_.load(std::memory_order_acquire)) shipper->on_commit(commit_lsn);
    };
    auto proposer = std::make_shared<walclient::WalProposer>(std::move(options));
    std::shared_ptr<walclient::WalProposer> earlier;  // ends behind the lock
    {
      const std::lock_guard lock(mutex_);
      if (canceled()) return fail(ErrorCode::kCanceled, "the compute is stopping");
      wal_service_ = known;
      earlier = std::exchange(proposer_, proposer);
    }
    earlier.reset();
    Result<walclient::WalProposer::Elected> elected = proposer->elect(kElectionPatience);
    if (canceled()) return fail(ErrorCode::kCanceled, "the compute is stopping");
    if (elected) return elected;
    const ErrorCode code = elected.error().code;
    if (definite(code) || code == ErrorCode::kFenced) {
      return fail(std::move(elected).error().context("win a term at the safekeepers"));
    }
    if (!complained) log::info("no majority of safekeepers yet, trying again", {{"error", elected.error()}});
    complained = true;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

Result<wire::BootstrapReply> ComputeLife::bootstrap(const walclient::WalProposer::Elected& elected) {
  auto client = std::make_shared<PageClient>(PageClient::Options{
      .pageserver = spec_.pageserver,
      .timeline = spec_.timeline,
      .term = elected.term,
      .pg_version = spec_.pg_version,
      .on_fenced = [this] { on_fenced(0); },
  });
  {
    const std::lock_guard lock(mutex_);
    if (canceled()) return fail(ErrorCode::kCanceled, "the compute is stopping");
    client_ = client;
  }
  Result<wire::BootstrapReply> reply = client->call<wire::BootstrapReply>(
      wire::BootstrapRequest{0, elected.start_lsn, to_string(elected.donor)});
  if (!reply) return fail(std::move(reply).error().context(fmt::format("get the start of the timeline at {}",
                                                                       to_string(elected.start_lsn))));
  if (reply->lsn != elected.start_lsn || reply->pg_version != static_cast<uint32_t>(spec_.pg_version)) {
    return fail(ErrorCode::kInvalid,
                fmt::format("the pageserver starts PostgreSQL {} at {}, wanted {} at {}", reply->pg_version,
                            to_string(reply->lsn), spec_.pg_version, to_string(elected.start_lsn)));
  }
  if (elected.system_id != 0 && reply->system_identifier != elected.system_id) {
    return fail(ErrorCode::kInvalid,
                fmt::format("system identifier {} at the pageserver, {} at the safekeepers: they do not belong together",
                            reply->system_identifier, elected.system_id));
  }
  return reply;
}

Status ComputeLife::make_local_files(wire::BootstrapReply& bootstrap) {
  const int64_t now = static_cast<int64_t>(::time(nullptr));
  SettingsInput input;
  input.user = spec_.settings;
  input.pg_version = spec_.pg_version;
  input.pg_address = spec_.pg_address;
  input.is_branch = bootstrap.is_branch;
  HELIUM_ASSIGN(input.floors.replication_origins, count_replication_origins(bootstrap));
  input.floors.prepared_transactions = count_prepared_transactions(bootstrap);
  HELIUM_ASSIGN(const SlotNeeds slots, take_slots(bootstrap));
  input.floors.replication_slots = slots.slots;
  input.floors.logical_decoding = slots.logical;
  HELIUM_ASSIGN(settings_, make_settings(input));
  checkpoint_ = make_start_checkpoint(bootstrap, settings_, now);
  HELIUM_TRY(make_tablespaces(bootstrap));
  HELIUM_TRY(write_data_directory(kPgdata, {bootstrap, checkpoint_, settings_, now}));
  if (slots.wal_from) fetch_wal_for_slots(*slots.wal_from, bootstrap.lsn);
  HELIUM_ASSIGN(const pg::ControlFile control, pg::ControlFile::parse(bootstrap.control_file, spec_.pg_version));
  cache_->set_auxiliary_key(auxiliary_key(control, spec_.timeline.timeline));
  HELIUM_ASSIGN(pgdata_, open_file(kPgdata, O_RDONLY | O_DIRECTORY));
  return {};
}

// Without it the compute serves all but these slots: PostgreSQL refuses to read a segment that is missing or zeros.
void ComputeLife::fetch_wal_for_slots(Lsn from, Lsn start) {
  if (from >= start) return;
  const auto began = std::chrono::steady_clock::now();
  std::vector<walclient::Safekeeper> safekeepers = wal_service();
  std::ranges::stable_partition(safekeepers, [this](const auto& each) { return each.address == donor_; });
  const Status fetched =
      fetch_old_wal(safekeepers, spec_.timeline, std::filesystem::path(kPgdata) / "pg_wal", from, start);
  const auto ms = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began).count();
  if (fetched) {
    log::info("replication slots have the WAL that they need", {{"from", from}, {"to", start}, {"ms", ms}});
  } else {
    log::error("replication slots lack WAL until the next start", {{"from", from}, {"error", fetched.error()}});
  }
}

// Before the data directory: folders of databases are made through these links.
Status ComputeLife::make_tablespaces(const wire::BootstrapReply& bootstrap) {
  HELIUM_ASSIGN(const auto tablespaces, tablespaces_of(bootstrap));
  for (const Tablespace& tablespace : tablespaces) {
    HELIUM_TRY(cache_->add_tablespace(tablespace.oid, tablespace.location));
  }
  for (const std::string& folder : bootstrap.folders) HELIUM_TRY(cache_->add_folder(folder));
  return {};
}

Status ComputeLife::start_services(const wire::BootstrapReply& bootstrap) {
  for (const wire::SlruSize& slru : bootstrap.slru_segments) {
    HELIUM_TRY(cache_->add_slru_segment(slru.segment, slru.npages));
  }
  source_ = std::make_unique<PageserverSource>(PageserverSource::Options{
      .client = client_.get(),
      .start_lsn = bootstrap.lsn,
      .shipped_lsn = [this] { return shipped_lsn(); },
  });
  if (prewarm_wanted()) source_->prewarm(databases_to_prewarm(bootstrap));
  HELIUM_TRY(cache_->start(source_.get()));

  proposer_->append(bootstrap.lsn, checkpoint_.wal);
  auto shipper = std::make_unique<WalShipper>(WalShipper::Options{
      .wal_folder = std::filesystem::path(kPgdata) / "pg_wal",
      .start = checkpoint_.end_lsn,
      .pg_version = spec_.pg_version,
      .wait =
          [this](uint64_t after_seq) {
            const vfs::CacheServer::WalSignal signal = cache_->wait_wal(after_seq, kWalWait);
            return WalShipper::Written{signal.seq, signal.written_upto};
          },
      .append = [this](Lsn start, ByteView wal) { proposer_->append(start, wal); },
      .commit_lsn = [this] { return proposer_->commit_lsn(); },
      .publish_flushed = [this](uint64_t seq) { cache_->publish_flushed(seq); },
      .on_damaged =
          [this](const Error& error) {
            if (canceled()) return;
            log::error("PostgreSQL's WAL cannot be shipped", {{"error", error}});
            damaged_ = true;
            kill_postgres();
            wake_();
          },
      .on_progress = {},
  });
  {
    const std::lock_guard lock(mutex_);
    shipper_ = std::move(shipper);
  }
  shipping_.store(shipper_.get(), std::memory_order_release);
  shipper_->start();
  return {};
}

Status ComputeLife::prepare() {
  const auto began = std::chrono::steady_clock::now();
  const auto since = [&] {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  };
  // The local side needs nothing from the network: it is made meanwhile.
  auto local = std::async(std::launch::async, [this]() -> Status {
    HELIUM_TRY(make_empty_folders("."));
    vfs::CacheOptions options;
    options.pgdata_dir = kPgdata;
    options.cache_dir = kCache;
    HELIUM_ASSIGN(auto cache, vfs::CacheServer::create(options));
    const std::lock_guard lock(mutex_);
    cache_ = std::move(cache);
    return {};
  });
  Result<walclient::WalProposer::Elected> elected = elect();
  Result<wire::BootstrapReply> answer = fail(ErrorCode::kCanceled, "");
  if (elected) {
    phases_.elected_ms = since();
    term_ = elected->term;
    start_lsn_ = elected->start_lsn.bytes();
    donor_ = elected->donor;
    log::info("elected", {{"term", elected->term}, {"lsn", elected->start_lsn}, {"donor", to_string(elected->donor)}});
    answer = bootstrap(*elected);
    phases_.bootstrapped_ms = since();
  }
  const Status local_made = local.get();
  if (!elected) return fail(std::move(elected).error());
  if (!answer) return fail(std::move(answer).error());
  HELIUM_TRY(local_made);

  HELIUM_TRY(make_local_files(*answer));
  HELIUM_TRY(start_services(*answer));
  phases_.prepared_ms = since();
  prepared_ = true;
  if (canceled()) return fail(ErrorCode::kCanceled, "the compute is stopping");
  return {};
}

PostgresCommand ComputeLife::command(const std::string& program, int library_fd, int log_fd) {
  PostgresCommand command;
  command.program = program;
  command.arguments = settings_.command_line;
  command.environment = cache_->child_environment();
  command.inherited_fds = cache_->inherited_fds();
  command.library_fd = library_fd;
  command.pgdata_fd = pgdata_.get();
  command.log_fd = log_fd;
  return command;
}

// ---- state

Lsn ComputeLife::shipped_lsn() const {
  const WalShipper* shipper = shipping_.load(std::memory_order_acquire);
  return shipper != nullptr ? shipper->shipped_lsn() : start_lsn();
}

Lsn ComputeLife::commit_lsn() const {
  const std::lock_guard lock(mutex_);
  return proposer_ ? std::max(proposer_->commit_lsn(), start_lsn()) : start_lsn();
}

std::vector<walclient::WalProposer::SafekeeperState> ComputeLife::safekeepers() const {
  const std::lock_guard lock(mutex_);
  if (!proposer_) return {};
  return proposer_->safekeepers();
}

std::vector<walclient::Safekeeper> ComputeLife::wal_service() const {
  const std::lock_guard lock(mutex_);
  if (!proposer_) return wal_service_;
  std::vector<walclient::Safekeeper> present;
  for (const auto& state : proposer_->safekeepers()) present.push_back({state.id, state.address});
  return present;
}

// ---- end

void ComputeLife::keep_last_files() {
  if (!prepared_ || fenced() || damaged()) return;
  cache_->wake_wal_waiter();
  shipper_->stop();  // whatever PostgreSQL synced has been shipped
  const Lsn end_of_wal = shipper_->shipped_lsn();
  const Result<LastWal> last = build_last_wal(kPgdata, end_of_wal, spec_.pg_version, spec_.timeline.timeline);
  if (!last) {
    log::warn("the last state of statistics and slots is not kept", {{"error", last.error()}});
    return;
  }
  if (last->files == 0) return;
  proposer_->append(end_of_wal, last->wal);
  if (const Status committed = proposer_->wait_commit(last->end, kLastFilesPatience); !committed) {
    if (fenced()) return;  // whoever took the timeline over goes on from what was committed
    log::warn("the last state of statistics and slots may not be kept", {{"error", committed.error()}});
    return;
  }
  log::info("statistics and slots are kept", {{"files", last->files}, {"lsn", last->end}});
}

void ComputeLife::end() {
  if (ended_) return;
  ended_ = true;
  canceled_ = true;
  kill_postgres();
  if (!end_descendants(kEndSeconds)) log::error("some PostgreSQL processes cannot be killed");
  if (proposer_) proposer_->stop();
  if (client_) client_->stop();
  if (cache_) cache_->wake_wal_waiter();
  shipping_.store(nullptr, std::memory_order_release);
  if (shipper_) shipper_->stop();
  if (cache_) cache_->stop();
}

}  // namespace helium::compute
