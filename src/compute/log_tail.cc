#include "compute/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "io/durable_file.h"

namespace helium::compute {

std::string last_lines(const std::filesystem::path& path, size_t lines) {
  constexpr off_t kTail = 16 * 1024;
  const Result<Fd> file = open_file(path, O_RDONLY);
  struct stat status {};
  if (!file || ::fstat(file->get(), &status) != 0) return "";
  const off_t from = status.st_size > kTail ? status.st_size - kTail : 0;
  std::string text(static_cast<size_t>(status.st_size - from), '\0');
  if (!pread_exact(*file, std::as_writable_bytes(std::span(text.data(), text.size())), static_cast<uint64_t>(from))) return "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t at = text.size();
  for (size_t found = 0; found < lines; ++found) {
    const size_t newline = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
    if (newline == std::string::npos) return text;
    at = newline;
  }
  return text.substr(at + 1);
}

}  // namespace helium::compute
