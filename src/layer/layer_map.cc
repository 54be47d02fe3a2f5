#include "layer/layer_map.h"

#include <algorithm>

namespace helium::layer {

LayerMap::LayerMap(Layers layers) : layers_(std::move(layers)) {
  std::sort(layers_.begin(), layers_.end(), [](const auto& x, const auto& y) {
    if (x->range().lsns.end() != y->range().lsns.end()) return x->range().lsns.end() > y->range().lsns.end();
    return x->range().keys.start < y->range().keys.start;
  });
  std::vector<Box> boxes;
  for (const auto& layer : layers_) boxes.push_back({layer->range().keys, layer->range().lsns.start()});
  levels_.push_back(std::move(boxes));
  while (levels_.back().size() > kFanout) {
    const std::vector<Box>& below = levels_.back();
    std::vector<Box> above;
    for (size_t i = 0; i < below.size(); ++i) {
      if (i % kFanout == 0) {
        above.push_back(below[i]);
        continue;
      }
      Box& box = above.back();
      box.keys.start = std::min(box.keys.start, below[i].keys.start);
      box.keys.end = std::max(box.keys.end, below[i].keys.end);
      box.lsn_start = std::min(box.lsn_start, below[i].lsn_start);
    }
    levels_.push_back(std::move(above));
  }
}

std::shared_ptr<const LayerMap> LayerMap::with(std::shared_ptr<const LayerFile> layer) const {
  Layers layers = layers_;
  layers.push_back(std::move(layer));
  return std::make_shared<const LayerMap>(std::move(layers));
}

const std::shared_ptr<const LayerFile>* LayerMap::Search::next() {
  while (i_ < map_.layers_.size()) {
    // The largest box that begins here and cannot match is skipped as a whole.
    size_t span = 1;
    size_t level = 0;
    while (level + 1 < map_.levels_.size() && i_ % (span * kFanout) == 0) {
      span *= kFanout;
      ++level;
    }
    bool skipped = false;
    for (;; --level, span /= kFanout) {
      if (!map_.levels_[level][i_ / span].meets(keys_, at_)) {
        i_ += span;
        skipped = true;
        break;
      }
      if (level == 0) break;
    }
    if (!skipped) return &map_.layers_[i_++];
  }
  return nullptr;
}

}  // namespace helium::layer
