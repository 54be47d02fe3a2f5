// Bytes in and out of formats: little-endian unless a name says otherwise.
//
// ByteWriter appends to a buffer that it owns. ByteReader reads untrusted bytes: a read past the end sets
// failed() and returns zeros, so a decoder reads everything and checks once. Neither is thread safe.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/lsn.h"

namespace helium {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;

inline ByteView as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Unaligned little-endian access to bytes that the caller has bounds-checked. x86-64 and arm64 only.
template <typename T>
  requires std::is_trivially_copyable_v<T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
template <typename T>
  requires std::is_trivially_copyable_v<T>
void store(void* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

class ByteWriter {
 public:
  void u8(uint8_t v) { put(v); }
  void u16(uint16_t v) { put(v); }
  void u32(uint32_t v) { put(v); }
  void u64(uint64_t v) { put(v); }
  void lsn(Lsn v) { put(v.bytes()); }
  void raw(ByteView bytes) { buffer_.insert(buffer_.end(), bytes.begin(), bytes.end()); }
  void raw(const void* data, size_t size) { raw({static_cast<const std::byte*>(data), size}); }
  // u32 length, then the bytes.
  void blob(ByteView bytes) {
    u32(static_cast<uint32_t>(bytes.size()));
    raw(bytes);
  }
  void text(std::string_view s) { blob(as_bytes(s)); }
  void zeros(size_t count) { buffer_.resize(buffer_.size() + count); }
  void patch_u32(size_t offset, uint32_t v) { std::memcpy(buffer_.data() + offset, &v, sizeof(v)); }

  size_t size() const { return buffer_.size(); }
  ByteView view() const { return buffer_; }
  Bytes take() { return std::move(buffer_); }

 private:
  template <typename T>
  void put(T v) {
    raw(&v, sizeof(v));
  }
  Bytes buffer_;
};

class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  uint8_t u8() { return get<uint8_t>(); }
  uint16_t u16() { return get<uint16_t>(); }
  uint32_t u32() { return get<uint32_t>(); }
  uint64_t u64() { return get<uint64_t>(); }
  Lsn lsn() { return Lsn(u64()); }
  ByteView raw(size_t size) {
    if (size > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const ByteView taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  ByteView blob() { return raw(u32()); }
  std::string text() { return std::string(as_text(blob())); }
  template <size_t N>
  std::array<uint8_t, N> array() {
    std::array<uint8_t, N> value{};
    const ByteView taken = raw(N);
    if (!taken.empty()) std::memcpy(value.data(), taken.data(), N);
    return value;
  }

  size_t remaining() const { return rest_.size(); }
  bool failed() const { return failed_; }
  // Everything was read, nothing was missing.
  bool done() const { return !failed_ && rest_.empty(); }

 private:
  template <typename T>
  T get() {
    const ByteView taken = raw(sizeof(T));
    return taken.empty() ? T{} : load<T>(taken.data());
  }
  ByteView rest_;
  bool failed_ = false;
};

}  // namespace helium
