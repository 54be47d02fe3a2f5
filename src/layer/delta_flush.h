// Writing a frozen in-memory layer as a delta layer file, with images for keys whose chains have become long.

#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <unordered_map>

#include "layer/layer_file.h"
#include "layer/mem_layer.h"

namespace helium::layer {

// How many records each key has gathered since its last will_init, over the layers flushed so far in this process's
// life. Keys are named by hash: two that collide at worst get an image early. Bounded: beyond kKeysMax the short
// chains are forgotten (they start from 0 again, as all do after a restart).
class ChainLengths {
 public:
  static constexpr size_t kKeysMax = 1 << 18;

  uint32_t of(const Key& key) const;
  void set(const Key& key, uint32_t length);
  void merge(const ChainLengths& newer);
  size_t size() const { return lengths_.size(); }

 private:
  void bound();
  std::unordered_map<uint64_t, uint32_t> lengths_;
};

struct DeltaFlush {
  std::shared_ptr<Disk> disk;
  std::filesystem::path folder;
  LsnRange lsns{Lsn(0), Lsn(1)};
  uint32_t image_chain_length = 64;
  std::function<Result<Bytes>(const Key&, Lsn)> image_maker;  // may be empty
  const std::atomic<bool>* canceled = nullptr;
};

struct FlushedDelta {
  LayerDesc desc;
  uint64_t hot_images = 0;
  ChainLengths chains;  // of the keys in this layer
};

// Writes and syncs the file and its folder. `layer` is frozen and not empty.
// Errors: those of Disk; kCanceled. Nothing is left behind, except by a crash.
Result<FlushedDelta> write_delta_layer(const DeltaFlush& flush, const MemLayer& layer, const ChainLengths& chains);

}  // namespace helium::layer
