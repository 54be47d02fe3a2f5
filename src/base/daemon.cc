#include "base/daemon.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>

namespace helium {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGQUIT);
  return set;
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int wait_for_stop() {
  const sigset_t set = stop_signals();
  int number = 0;
  while (sigwait(&set, &number) != 0) {
  }
  return number;
}

int wait_for_stop(std::chrono::milliseconds timeout) {
  const sigset_t set = stop_signals();
  const timespec spec{timeout.count() / 1000, timeout.count() % 1000 * 1000000};
  const int number = sigtimedwait(&set, nullptr, &spec);
  return number > 0 ? number : 0;
}

}  // namespace helium
