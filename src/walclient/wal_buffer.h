// WalBuffer: the newest WAL of a proposer, for sending it (again) to each safekeeper.
//
// A ring of `capacity` bytes indexed by LSN; holds [start, end). Memory is touched only as far as it is used.
// Not thread safe: its owner locks.

#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"
#include "base/lsn.h"

namespace helium::walclient {

class WalBuffer {
 public:
  explicit WalBuffer(size_t capacity) : capacity_(capacity), ring_(new std::byte[capacity]) {}

  // Empty, at `lsn`.
  void reset(Lsn lsn) { start_ = end_ = lsn; }
  Lsn start() const { return start_; }
  Lsn end() const { return end_; }
  size_t capacity() const { return capacity_; }

  // How much fits behind end() if what lies before `needed_from` may be overwritten.
  size_t room(Lsn needed_from) const {
    const Lsn keep = std::clamp(needed_from, start_, end_);
    return capacity_ - (end_ - keep);
  }
  // The oldest bytes go if there is no room: ask room() first.
  void append(ByteView bytes) {
    CHECK(bytes.size() <= capacity_);
    copy(end_, bytes.size(), [&](size_t at, size_t done, size_t size) {
      std::memcpy(ring_.get() + at, bytes.data() + done, size);
    });
    end_ = end_ + bytes.size();
    if (end_ - start_ > capacity_) start_ = Lsn(end_.bytes() - capacity_);
  }
  // Up to `max` bytes from `from`, which must be in [start, end].
  void read(Lsn from, size_t max, Bytes& out) const {
    CHECK(start_ <= from);
    out.resize(std::min<uint64_t>(max, end_ - from));
    copy(from, out.size(), [&](size_t at, size_t done, size_t size) {
      std::memcpy(out.data() + done, ring_.get() + at, size);
    });
  }

 private:
  template <typename Move>
  void copy(Lsn lsn, size_t size, Move move) const {
    for (size_t done = 0; done < size;) {
      const size_t at = (lsn.bytes() + done) % capacity_;
      const size_t part = std::min(size - done, capacity_ - at);
      move(at, done, part);
      done += part;
    }
  }

  const size_t capacity_;
  const std::unique_ptr<std::byte[]> ring_;
  Lsn start_, end_;
};

}  // namespace helium::walclient
