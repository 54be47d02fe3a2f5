// LayerMap: which layer files may hold a version of a key at an LSN.
//
// An immutable snapshot: a change makes a new map and swaps one pointer, so that readers work on theirs undisturbed,
// and the layers in it live as long as a reader holds the map. (Compaction and garbage collection will swap maps the
// same way; eviction will change what a LayerFile does, not the map.)
// Layers are sorted by lsn_end descending, then key_start; over that order lies a packed tree of bounding boxes, 16 to
// a node, so that a search skips what cannot match: hundreds of layers cost well under a microsecond.
// Pure; safe from any thread.

#pragma once

#include <memory>
#include <vector>

#include "layer/layer_file.h"

namespace helium::layer {

class LayerMap {
 public:
  using Layers = std::vector<std::shared_ptr<const LayerFile>>;

  explicit LayerMap(Layers layers);
  std::shared_ptr<const LayerMap> with(std::shared_ptr<const LayerFile> layer) const;

  const Layers& layers() const { return layers_; }  // lsn_end descending

  // The layers that overlap `keys` and hold versions <= at, lsn_end descending.
  class Search {
   public:
    Search(const LayerMap& map, const KeyRange& keys, Lsn at) : map_(map), keys_(keys), at_(at) {}
    const std::shared_ptr<const LayerFile>* next();  // null: no more

   private:
    const LayerMap& map_;
    const KeyRange keys_;
    const Lsn at_;
    size_t i_ = 0;
  };

 private:
  struct Box {
    KeyRange keys;
    Lsn lsn_start;
    bool meets(const KeyRange& other, Lsn at) const { return lsn_start <= at && keys.overlaps(other); }
  };
  static constexpr size_t kFanout = 16;

  Layers layers_;
  std::vector<std::vector<Box>> levels_;  // levels_[0]: a box per layer; each further one: a box per kFanout below
};

}  // namespace helium::layer
