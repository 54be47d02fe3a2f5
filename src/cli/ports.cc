#include "cli/ports.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/durable_file.h"

namespace helium::cli {
namespace {

namespace fs = std::filesystem;

// The inode of the socket that listens on the port, as text; "" if none is seen.
std::string listening_inode(const char* table, uint16_t port) {
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // the heading
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    constexpr std::string_view kListen = "0A";
    const size_t colon = local.rfind(':');
    if (state != kListen || colon == std::string::npos) continue;
    uint16_t local_port = 0;
    std::from_chars(local.data() + colon + 1, local.data() + local.size(), local_port, 16);
    if (local_port == port) return inode;
  }
  return "";
}

bool has_socket(const fs::path& process, const std::string& link) {
  std::error_code error;
  for (fs::directory_iterator fd(process / "fd", error), end; !error && fd != end; fd.increment(error)) {
    std::error_code unreadable;
    if (fs::read_symlink(fd->path(), unreadable) == link) return true;
  }
  return false;
}

}  // namespace

bool is_port_free(const HostPort& address) { return tcp_listen(address).has_value(); }

std::optional<std::string> port_owner(uint16_t port) {
  std::string inode = listening_inode("/proc/net/tcp", port);
  if (inode.empty()) inode = listening_inode("/proc/net/tcp6", port);
  if (inode.empty()) return std::nullopt;
  const std::string link = fmt::format("socket:[{}]", inode);
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end; process.increment(error)) {
    const std::string name = process->path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!has_socket(process->path(), link)) continue;
    const Result<std::string> command = read_text_file(process->path() / "comm");
    return fmt::format("'{}' (pid {})", command ? command->substr(0, command->find('\n')) : "?", name);
  }
  return std::nullopt;
}

Status check_port_free(const HostPort& address, std::string_view purpose) {
  const Result<Fd> listener = tcp_listen(address);
  if (listener) return {};
  const std::optional<std::string> owner = port_owner(address.port);
  return fail(ErrorCode::kInvalid,
              fmt::format("port {} for {} is taken{}: stop that program, or give this cluster other ports "
                          "('helium init --help')",
                          address.port, purpose, owner ? " by " + *owner : std::string(" by another program")));
}

}  // namespace helium::cli
