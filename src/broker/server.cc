#include "broker/server.h"

#include <grpcpp/grpcpp.h>

#include <mutex>

#include "base/log.h"
#include "broker/broker.grpc.pb.h"
#include "broker/message.h"

namespace helium::broker {
namespace {

constexpr int kMessageSizeMax = 64 * 1024;  // real ones have about 150 bytes
constexpr int kKeepaliveMs = 5000;          // a peer that vanished is noticed within twice that

// One publisher's stream: reads until it ends.
class PublishReactor final : public grpc::ServerBidiReactor<v1::TimelineProgress, v1::PublishReply> {
 public:
  explicit PublishReactor(Hub& hub) : hub_(hub) {
    StartSendInitialMetadata();  // tells the publisher that it is connected
    StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    const auto progress = from_message(message_);
    if (!progress) {
      Finish({grpc::StatusCode::INVALID_ARGUMENT, progress.error().message});
      return;
    }
    hub_.publish(*progress);
    StartRead(&message_);
  }
  void OnDone() override { delete this; }

 private:
  Hub& hub_;
  v1::TimelineProgress message_;
};

// One subscriber's stream. Lives until OnDone, and a little longer if the hub is just about to wake it.
class SubscribeReactor final : public grpc::ServerWriteReactor<v1::TimelineProgress>,
                               public Wakeable,
                               public std::enable_shared_from_this<SubscribeReactor> {
 public:
  explicit SubscribeReactor(Hub& hub) : hub_(hub) {}

  void start(const v1::SubscribeRequest& request) {
    self_ = shared_from_this();
    const auto filter = filter_from(request);
    if (!filter) {
      finish({grpc::StatusCode::INVALID_ARGUMENT, filter.error().message});
      return;
    }
    auto id = hub_.subscribe(*filter, weak_from_this());
    if (!id) {
      finish({grpc::StatusCode::RESOURCE_EXHAUSTED, id.error().message});
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      id_ = *id;
    }
    StartSendInitialMetadata();
    write_next();
  }

  void wake() override { write_next(); }
  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      canceled_ |= !ok;
    }
    write_next();
  }
  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      canceled_ = true;
    }
    write_next();
  }
  void OnDone() override {
    if (id_ != 0) hub_.unsubscribe(id_);
    self_.reset();  // may delete this
  }

 private:
  void finish(grpc::Status status) {
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    Finish(std::move(status));
  }

  // Starts at most one operation; whoever sets writing_ or finished_ starts it, outside of the lock.
  void write_next() {
    bool write = false;
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      if (!canceled_) {
        if (id_ == 0) return;
        const auto progress = hub_.take(id_);
        if (!progress) return;
        message_ = to_message(*progress);
        writing_ = write = true;
      }
    }
    if (write) {
      StartWrite(&message_);
    } else {
      finish(grpc::Status::CANCELLED);
    }
  }

  Hub& hub_;
  std::shared_ptr<SubscribeReactor> self_;
  std::mutex mutex_;
  Hub::SubscriberId id_ = 0;
  bool writing_ = false;
  bool canceled_ = false;
  bool finished_ = false;
  v1::TimelineProgress message_;  // belongs to the write while writing_
};

class Service final : public v1::Broker::CallbackService {
 public:
  explicit Service(Hub& hub) : hub_(hub) {}
  grpc::ServerBidiReactor<v1::TimelineProgress, v1::PublishReply>* Publish(grpc::CallbackServerContext*) override {
    return new PublishReactor(hub_);
  }
  grpc::ServerWriteReactor<v1::TimelineProgress>* Subscribe(grpc::CallbackServerContext*,
                                                            const v1::SubscribeRequest* request) override {
    const auto reactor = std::make_shared<SubscribeReactor>(hub_);
    reactor->start(*request);
    return reactor.get();  // it holds itself
  }

 private:
  Hub& hub_;
};

}  // namespace

struct BrokerServer::Impl {
  explicit Impl(Hub::Limits limits) : hub(limits), service(hub) {}
  Hub hub;
  Service service;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
};

Result<std::unique_ptr<BrokerServer>> BrokerServer::start(const HostPort& address, Hub::Limits limits) {
  route_grpc_log();
  auto impl = std::make_unique<Impl>(limits);
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second broker must fail, not share the port
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 2);
  builder.SetMaxReceiveMessageSize(kMessageSizeMax);
  builder.AddListeningPort(to_string(address), grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (!impl->server || impl->port == 0) {
    return fail(ErrorCode::kIo, "listen on " + to_string(address) + ": address in use or not ours; choose another one with --listen");
  }
  return std::unique_ptr<BrokerServer>(new BrokerServer(std::move(impl)));
}

BrokerServer::BrokerServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BrokerServer::~BrokerServer() { stop(); }

uint16_t BrokerServer::port() const { return static_cast<uint16_t>(impl_->port); }
Hub::Counts BrokerServer::counts() const { return impl_->hub.counts(); }

void BrokerServer::stop() {
  // The streams never end by themselves: no grace period.
  impl_->server->Shutdown(std::chrono::system_clock::now());
  impl_->server->Wait();
}

}  // namespace helium::broker
