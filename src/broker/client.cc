#include "broker/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"
#include "broker/broker.grpc.pb.h"
#include "broker/message.h"

namespace helium::broker {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kBackoffMin{50};
constexpr milliseconds kBackoffMax{1000};
constexpr int kKeepaliveMs = 5000;
constexpr int kConnectTimeoutMs = 2000;

std::shared_ptr<grpc::Channel> make_channel(const HostPort& broker) {
  route_grpc_log();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, static_cast<int>(kBackoffMin.count()));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);  // gRPC's name for how long one attempt may take
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(kBackoffMax.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // as many as keepalive wants
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);     // clients of one process do not share back-off
  return grpc::CreateCustomChannel(to_string(broker), grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

// Each connection is a loop of its own in a thread of its own: open a stream, use it until it breaks, wait, again.
struct BrokerClient::Impl {
  using Key = std::pair<TenantTimelineId, uint64_t>;

  explicit Impl(const HostPort& broker)
      : address(to_string(broker)), channel(make_channel(broker)), stub(v1::Broker::NewStub(channel)) {}

  const std::string address;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::Broker::Stub> stub;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::set<grpc::ClientContext*> open;        // canceled by stop()
  std::map<Key, TimelineProgress> published;  // the last value of each, said again after a reconnect
  std::set<Key> unsent;
  std::list<std::thread> threads;
  bool publisher_started = false;

  void publish(const TimelineProgress& progress);
  void subscribe(std::optional<TenantTimelineId> id, std::function<void(const TimelineProgress&)> on_progress);
  void stop();

  // Calls `use` with a registered context again and again, until stop(). `use` returns how its stream ended.
  void keep_connected(const char* purpose, const std::function<grpc::Status(grpc::ClientContext&)>& use);
  grpc::Status publish_stream(grpc::ClientContext& context);
};

void BrokerClient::Impl::keep_connected(const char* purpose,
                                        const std::function<grpc::Status(grpc::ClientContext&)>& use) {
  milliseconds backoff = kBackoffMin;
  bool reported = false;  // one line when the broker is lost, not one per attempt
  std::unique_lock lock(mutex);
  while (!stopping) {
    grpc::ClientContext context;
    open.insert(&context);
    lock.unlock();
    const auto began = std::chrono::steady_clock::now();
    const grpc::Status status = use(context);
    const bool worked = std::chrono::steady_clock::now() - began > kBackoffMax;
    lock.lock();
    open.erase(&context);
    if (stopping) return;
    if (worked) {
      backoff = kBackoffMin;
      reported = false;
    }
    if (!reported) {
      log::info("no stream to the storage broker, trying on",
                {{"purpose", purpose}, {"broker", address}, {"reason", status.error_message()}});
      reported = true;
    }
    changed.wait_for(lock, backoff, [&] { return stopping; });
    backoff = std::min(backoff * 2, kBackoffMax);
  }
}

void BrokerClient::Impl::publish(const TimelineProgress& progress) {
  const Key key{progress.id, progress.safekeeper_id};
  {
    const std::lock_guard lock(mutex);
    if (stopping) return;
    published[key] = progress;
    unsent.insert(key);
    if (!publisher_started) {
      publisher_started = true;
      threads.emplace_back([this] {
        keep_connected("publish", [this](grpc::ClientContext& context) { return publish_stream(context); });
      });
    }
  }
  changed.notify_all();
}

grpc::Status BrokerClient::Impl::publish_stream(grpc::ClientContext& context) {
  const auto stream = stub->Publish(&context);
  bool broken = false;  // guarded by mutex
  // Replies never come; a read that returns is how a broken stream is noticed while there is nothing to say.
  std::thread reader([&] {
    v1::PublishReply reply;
    while (stream->Read(&reply)) {
    }
    const std::lock_guard lock(mutex);
    broken = true;
    changed.notify_all();
  });

  std::unique_lock lock(mutex);
  for (const auto& [key, progress] : published) unsent.insert(key);
  while (true) {
    changed.wait(lock, [&] { return stopping || broken || !unsent.empty(); });
    if (stopping || broken) break;
    const Key key = *unsent.begin();
    unsent.erase(unsent.begin());
    const v1::TimelineProgress message = to_message(published.at(key));
    lock.unlock();
    const bool written = stream->Write(message);
    lock.lock();
    if (!written) break;
  }
  lock.unlock();
  context.TryCancel();
  reader.join();
  return stream->Finish();
}

void BrokerClient::Impl::subscribe(std::optional<TenantTimelineId> id,
                                   std::function<void(const TimelineProgress&)> on_progress) {
  const std::lock_guard lock(mutex);
  if (stopping) return;
  threads.emplace_back([this, id, on_progress = std::move(on_progress)] {
    keep_connected("subscribe", [&](grpc::ClientContext& context) {
      const auto stream = stub->Subscribe(&context, to_request(id));
      v1::TimelineProgress message;
      while (stream->Read(&message)) {
        if (const auto progress = from_message(message)) on_progress(*progress);
      }
      return stream->Finish();
    });
  });
}

void BrokerClient::Impl::stop() {
  std::list<std::thread> ending;
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    for (grpc::ClientContext* context : open) context->TryCancel();
    ending = std::move(threads);
  }
  changed.notify_all();
  for (std::thread& thread : ending) thread.join();
}

BrokerClient::BrokerClient(HostPort broker) : impl_(std::make_unique<Impl>(broker)) {}
BrokerClient::~BrokerClient() { impl_->stop(); }
void BrokerClient::publish(const TimelineProgress& progress) { impl_->publish(progress); }
void BrokerClient::subscribe(std::optional<TenantTimelineId> id,
                             std::function<void(const TimelineProgress&)> on_progress) {
  impl_->subscribe(std::move(id), std::move(on_progress));
}

}  // namespace helium::broker
