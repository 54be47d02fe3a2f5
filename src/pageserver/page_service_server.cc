#include "pageserver/page_service_server.h"

#include <atomic>

#include "base/log.h"
#include "pageserver/format.h"
#include "pageserver/page_requests.h"

namespace helium::pageserver {

using wire::ClientMessage;

struct PageServiceServer::Connection {
  Fd socket;
  wire::Hello hello;
  std::shared_ptr<Timeline> timeline;  // set by greet()
  std::thread thread;
  std::atomic<bool> greeted{false};
  std::atomic<bool> ended{false};

  std::mutex send_mutex;
  void send(ByteView frame) {
    std::lock_guard lock(send_mutex);
    if (!send_all(socket, frame)) shutdown_socket(socket);
  }

  std::mutex flight_mutex;
  std::condition_variable landed;
  int in_flight = 0;
  bool closing = false;
  void take_off() {
    std::unique_lock lock(flight_mutex);
    landed.wait(lock, [this] { return closing || in_flight < kMaxInFlight; });
    ++in_flight;
  }
  void close() {
    {
      std::lock_guard lock(flight_mutex);
      closing = true;
      landed.notify_all();
    }
    shutdown_socket(socket);
  }
  void land() {
    std::lock_guard lock(flight_mutex);
    --in_flight;
    landed.notify_all();
  }

  bool is_superseded() const {
    return hello.primary && hello.term > 0 && timeline->latest_term() > hello.term;
  }
  Error fenced() const {
    return {ErrorCode::kFenced, fmt::format("term {} of timeline {} was superseded by term {}", hello.term,
                                            hello.timeline.timeline, timeline->latest_term())};
  }
};

// A request on its way; the last reference to it lets the connection's reader take another one.
struct PageServiceServer::Job {
  std::shared_ptr<Connection> connection;
  ClientMessage message;
  uint64_t request_id = 0;
  Clock::time_point arrived = Clock::now();

  ~Job() { connection->land(); }
};

PageServiceServer::PageServiceServer(Tenants& tenants, std::shared_ptr<Metrics> metrics)
    : tenants_(tenants), metrics_(std::move(metrics)) {}

PageServiceServer::~PageServiceServer() { stop(); }

Status PageServiceServer::start(const HostPort& address) {
  HELIUM_ASSIGN(listener_, tcp_listen(address));
  acceptor_ = std::thread([this] { accept_loop(); });
  sweeper_ = std::thread([this] { sweep_loop(); });
  return {};
}

uint16_t PageServiceServer::port() const { return local_port(listener_); }

void PageServiceServer::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    changed_.notify_all();
  }
  if (listener_) shutdown_socket(listener_);
  if (acceptor_.joinable()) acceptor_.join();
  if (sweeper_.joinable()) sweeper_.join();
  for (const auto& connection : connections_) connection->close();
  workers_.stop();
  for (const auto& connection : connections_)
    if (connection->thread.joinable()) connection->thread.join();
  connections_.clear();
}

void PageServiceServer::accept_loop() {
  while (true) {
    auto socket = tcp_accept(listener_);
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!socket) {
      if (socket.error().code == ErrorCode::kClosed) return;
      log::warn("accept failed", {{"error", socket.error()}});
      continue;
    }
    if (connections_.size() >= kMaxConnections) continue;  // closes it
    auto connection = std::make_shared<Connection>();
    connection->socket = std::move(*socket);
    set_send_timeout(connection->socket, std::chrono::seconds(30));
    connections_.push_back(connection);
    connection->thread = std::thread([this, connection] {
      metrics_->count_connection(1);
      serve(connection);
      metrics_->count_connection(-1);
      shutdown_socket(connection->socket);
      connection->ended = true;
    });
  }
}

namespace {

Result<ClientMessage> receive(const Fd& socket) {
  std::array<std::byte, wire::kFrameHeaderSize> header_bytes;
  HELIUM_TRY(recv_exact(socket, header_bytes));
  HELIUM_ASSIGN(const wire::FrameHeader header, wire::decode_frame_header(header_bytes));
  // Requests are small: nobody makes us allocate 64 MiB.
  if (header.payload_size > 64 * 1024) return fail(ErrorCode::kCorrupt, "a request of more than 64 kB");
  Bytes payload(header.payload_size);
  HELIUM_TRY(recv_exact(socket, payload));
  return wire::decode_client_message(header.type, payload);
}

uint64_t id_of(const ClientMessage& message) {
  return std::visit(
      [](const auto& m) -> uint64_t {
        if constexpr (requires { m.request_id; }) return m.request_id;
        else return 0;
      },
      message);
}

// What must be readable before the request can be answered.
Lsn needed_lsn(const ClientMessage& message) {
  return std::visit(
      [](const auto& m) -> Lsn {
        if constexpr (requires { m.at; }) return m.at.not_modified_since;
        else if constexpr (requires { m.wal_source; }) return m.lsn;
        else return Lsn();
      },
      message);
}

}  // namespace

void PageServiceServer::serve(const std::shared_ptr<Connection>& connection) {
  if (auto greeted = greet(connection); !greeted) {
    if (greeted.error().code == ErrorCode::kClosed) return;
    log::info("page service client refused", {{"error", greeted.error()}});
    connection->send(encode(wire::ErrorReply{0, std::move(greeted).error()}));
    return;
  }
  while (true) {
    auto message = receive(connection->socket);
    if (!message) {
      if (message.error().code == ErrorCode::kCorrupt)
        connection->send(encode(wire::ErrorReply{0, std::move(message).error()}));
      return;
    }
    on_request(connection, std::move(*message));
  }
}

Status PageServiceServer::greet(const std::shared_ptr<Connection>& connection) {
  set_recv_timeout(connection->socket, std::chrono::seconds(10));
  HELIUM_ASSIGN(const ClientMessage message, receive(connection->socket));
  const auto* hello = std::get_if<wire::Hello>(&message);
  if (!hello) return fail(ErrorCode::kCorrupt, "the first message must be Hello");
  HELIUM_ASSIGN(connection->timeline, tenants_.find(hello->timeline));
  connection->hello = *hello;
  if (hello->primary) connection->timeline->note_term(hello->term);
  if (connection->is_superseded()) return fail(connection->fenced());
  connection->greeted = true;
  fence_superseded();
  set_recv_timeout(connection->socket, std::chrono::milliseconds(0));
  connection->send(encode(wire::HelloAck{static_cast<uint32_t>(connection->timeline->pg_version()),
                                         connection->timeline->readable_lsn()}));
  return {};
}

void PageServiceServer::on_request(const std::shared_ptr<Connection>& connection, ClientMessage message) {
  connection->take_off();
  auto job = std::make_shared<Job>();
  job->connection = connection;
  job->request_id = id_of(message);
  job->message = std::move(message);
  const auto refuse = [&](Error error) { connection->send(encode(wire::ErrorReply{job->request_id, std::move(error)})); };
  if (job->request_id == 0) return refuse({ErrorCode::kInvalid, "a request needs an id other than 0"});
  if (connection->is_superseded()) return refuse(connection->fenced());
  if (const auto* bootstrap = std::get_if<wire::BootstrapRequest>(&job->message))
    if (const auto source = parse_host_port(bootstrap->wal_source))
      tenants_.hint_source(connection->hello.timeline, *source, bootstrap->lsn);
  connection->timeline->when_readable(needed_lsn(job->message), job->arrived + kLongestWait, [this, job](Status waited) {
    workers_.submit([this, job, waited] { answer(job, waited); });
  });
}

void PageServiceServer::answer(const std::shared_ptr<Job>& job, Status waited) {
  Connection& connection = *job->connection;
  const Timeline& timeline = *connection.timeline;
  const auto begun = Clock::now();
  auto kind = Metrics::Request::kGetPages;
  Result<Bytes> frame = Bytes();
  if (!waited) {
    frame = fail(std::move(waited).error());
  } else if (connection.is_superseded()) {
    frame = fail(connection.fenced());
  } else if (const auto* pages = std::get_if<wire::GetPagesRequest>(&job->message)) {
    auto answered = answer_get_pages(timeline, *pages, std::min(pages->at.read_lsn, timeline.readable_lsn()));
    metrics_->count_pages(pages->blknos.size(), answered ? answered->redo_refused : 0,
                          answered ? answered->failed : pages->blknos.size());
    if (answered) frame = std::move(answered->frame);
    else frame = fail(std::move(answered).error());
  } else if (const auto* info = std::get_if<wire::RelInfoRequest>(&job->message)) {
    kind = Metrics::Request::kRelInfo;
    frame = answer_rel_info(timeline, *info, std::min(info->at.read_lsn, timeline.readable_lsn()));
  } else if (const auto* rels = std::get_if<wire::ListRelsRequest>(&job->message)) {
    kind = Metrics::Request::kListRels;
    frame = answer_list_rels(timeline, *rels, std::min(rels->at.read_lsn, timeline.readable_lsn()));
  } else if (const auto* slru = std::get_if<wire::ListSlruRequest>(&job->message)) {
    kind = Metrics::Request::kListSlru;
    frame = answer_list_slru(timeline, *slru, std::min(slru->at.read_lsn, timeline.readable_lsn()));
  } else if (const auto* bootstrap = std::get_if<wire::BootstrapRequest>(&job->message)) {
    kind = Metrics::Request::kBootstrap;
    frame = answer_bootstrap(timeline, *bootstrap);
  } else {
    frame = fail(ErrorCode::kInvalid, "Hello may be said only once");
  }
  connection.send(frame ? *frame : encode(wire::ErrorReply{job->request_id, std::move(frame).error()}));
  metrics_->count_request(kind, Clock::now() - job->arrived, begun - job->arrived);
}

void PageServiceServer::sweep_loop() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait_for(lock, std::chrono::milliseconds(100));
    std::list<std::shared_ptr<Connection>> ended;
    for (auto it = connections_.begin(); it != connections_.end();) {
      const auto next = std::next(it);
      if ((*it)->ended) ended.splice(ended.end(), connections_, it);
      it = next;
    }
    lock.unlock();
    for (const auto& connection : ended) connection->thread.join();
    ended.clear();
    fence_superseded();
    lock.lock();
  }
}

void PageServiceServer::fence_superseded() {
  std::vector<std::shared_ptr<Connection>> superseded;
  {
    std::lock_guard lock(mutex_);
    for (const auto& connection : connections_)
      if (connection->greeted && !connection->ended && connection->is_superseded()) superseded.push_back(connection);
  }
  for (const auto& connection : superseded) {
    if (!connection->greeted.exchange(false)) continue;  // somebody else tells it
    log::info("page service client fenced", {{"timeline", to_string(connection->hello.timeline)},
                                             {"term", connection->hello.term},
                                             {"latest_term", connection->timeline->latest_term()}});
    connection->send(encode(wire::ErrorReply{0, connection->fenced()}));
    shutdown_socket(connection->socket);
  }
}

}  // namespace helium::pageserver
