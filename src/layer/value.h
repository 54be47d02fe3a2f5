// What is stored under a (key, LSN): a page image, a whole WAL record, or a small piece of data.
// Plain values; safe from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/bytes.h"
#include "base/lsn.h"
#include "layer/key.h"

namespace helium::layer {

// Stored in layer files: give new kinds new numbers.
enum class ValueKind : uint8_t {
  kImage = 1,      // a page, 8192 bytes
  kRecord = 2,     // a whole WAL record, to be applied to the page before it
  kZeroPage = 3,   // a page of zeros; no bytes
  kTombstone = 4,  // the key does not exist from here on; no bytes
  kData = 5,       // a small value of its own: a size, a map, a counter
};
const char* to_string(ValueKind kind);  // "image", "record", "zero_page", "tombstone", "data"

// Bytes kept alive by whoever owns them (an in-memory layer, a cached block). Copies share.
// Hold one for a request, not for ever: it pins its block or its whole in-memory layer.
class SharedBytes {
 public:
  SharedBytes() = default;
  SharedBytes(std::shared_ptr<const void> owner, ByteView view) : owner_(std::move(owner)), view_(view) {}
  static SharedBytes copy_of(ByteView bytes) {
    auto owner = std::make_shared<const Bytes>(bytes.begin(), bytes.end());
    const ByteView view = *owner;
    return {std::move(owner), view};
  }

  ByteView view() const { return view_; }
  operator ByteView() const { return view_; }
  size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  const std::byte* data() const { return view_.data(); }
  Bytes to_bytes() const { return Bytes(view_.begin(), view_.end()); }

 private:
  std::shared_ptr<const void> owner_;
  ByteView view_;
};

// One put of a batch. Puts of one batch whose `bytes` are the same memory (same address and size) share one stored
// copy, in memory and (from 64 bytes on) in the file.
// will_init: a reader may stop here. Must be true for all kinds but kRecord, where the writer decides.
struct Put {
  Key key;
  ValueKind kind = ValueKind::kData;
  bool will_init = true;
  ByteView bytes;
};

struct Version {
  Lsn lsn;
  ValueKind kind = ValueKind::kData;
  bool will_init = true;
  SharedBytes bytes;
};

}  // namespace helium::layer
