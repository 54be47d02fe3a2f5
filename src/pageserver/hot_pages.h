// HotPages: which pages have had many records since their last base, so that no reader needs more than a bounded number.
//
// The layer store makes images when it flushes; a busy page (a counter row, the newest clog page) can have a hundred
// thousand records before that. Ingest then stores an image in place of every kChain-th record. A page that redo
// refuses keeps its records (rule 20).
// Memory: bounded by kMaxKeys; when that is reached, counting starts anew. Not thread safe: ingest's own.

#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "layer/key.h"
#include "layer/value.h"

namespace helium::pageserver {

class HotPages {
 public:
  static constexpr uint32_t kChain = 128;
  static constexpr size_t kMaxKeys = 64 * 1024;

  // The keys of these puts whose chain has reached kChain; their count starts anew.
  std::vector<layer::Key> count(std::span<const layer::Put> puts) {
    std::vector<layer::Key> due;
    for (const layer::Put& put : puts) {
      const layer::KeyKind kind = put.key.kind();
      if (kind != layer::KeyKind::kRelBlock && kind != layer::KeyKind::kSlruBlock) continue;
      if (put.will_init) {
        chains_.erase(put.key);
        continue;
      }
      if (chains_.size() >= kMaxKeys) chains_.clear();
      if (++chains_[put.key] < kChain) continue;
      chains_.erase(put.key);
      due.push_back(put.key);
    }
    return due;
  }

 private:
  std::unordered_map<layer::Key, uint32_t> chains_;
};

}  // namespace helium::pageserver
