// ObjectStore: named, immutable blobs outside of any one machine, as an S3 bucket has them.
//
// What S3 cannot do is not here: no rename, no append, no folders, no change of a part. A put is atomic: readers see
// the whole object or none, also after a crash; it is durable when put() returns.
// Keys: 1 to 512 bytes of parts joined by '/'; a part is [A-Za-z0-9_.=-]+ and does not begin with '.'.
// Errors: kNotFound; kExists (put if absent); kTruncated (a range past the object's end); kNoSpace; kInvalid (a key that
//   is none); kUnavailable and kIo: the store cannot be reached or refused: trying again may help.
// Calls block. Threads: all calls are safe from any thread, and from any number of processes on one store.
// Layout of what Helium keeps there: docs/formats/object_store.md.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace helium {

enum class PutMode {
  kReplace,   // whatever was there
  kIfAbsent,  // kExists if there is an object, which stays as it is: of several writers exactly one wins
};

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
  friend bool operator==(const ObjectInfo&, const ObjectInfo&) = default;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual Status put(std::string_view key, ByteView content, PutMode mode) = 0;
  virtual Result<Bytes> get(std::string_view key) = 0;
  // Bytes [offset, offset + to.size()) of the object.
  virtual Status get_range(std::string_view key, uint64_t offset, MutableByteView to) = 0;
  // Its size. kNotFound if it is not there.
  virtual Result<uint64_t> size(std::string_view key) = 0;
  // All objects whose keys begin with `prefix` (any text, empty too), in the order of their keys.
  virtual Result<std::vector<ObjectInfo>> list(std::string_view prefix) = 0;
  // Fine if it is not there.
  virtual Status remove(std::string_view key) = 0;

  // For messages: where it is.
  virtual std::string describe() const = 0;
};

// kInvalid, with what is wrong.
Status check_object_key(std::string_view key);

}  // namespace helium
