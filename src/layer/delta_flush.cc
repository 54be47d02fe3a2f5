#include "layer/delta_flush.h"

#include <vector>

#include "base/log.h"
#include "layer/layer_writer.h"

namespace helium::layer {
namespace {

constexpr size_t kPageSize = 8192;

bool is_block(const Key& key) { return key.kind() == KeyKind::kRelBlock || key.kind() == KeyKind::kSlruBlock; }

// One key at a time.
class KeyFlusher {
 public:
  KeyFlusher(const DeltaFlush& flush, const ChainLengths& chains, LayerWriter& writer, FlushedDelta& result)
      : flush_(flush), chains_(chains), writer_(writer), result_(result) {}

  Status add(const Key& key, const MemLayer::Entry* newest) {
    entries_.clear();
    for (const MemLayer::Entry* entry = newest; entry != nullptr; entry = entry->older) entries_.push_back(entry);

    const uint32_t length_before = chains_.of(key);
    uint32_t length = length_before;
    for (size_t i = entries_.size(); i-- > 0;) length = entries_[i]->will_init ? 0 : length + 1;

    for (size_t i = entries_.size(); i-- > 1;) HELIUM_TRY(put(key, *entries_[i]));
    if (length >= flush_.image_chain_length && is_block(key)) {
      if (const std::optional<Bytes> image = make_image(key, newest->lsn)) {
        ++result_.hot_images;
        length = 0;
        HELIUM_TRY(writer_.add({key, newest->lsn}, ValueKind::kImage, true, *image));
        result_.chains.set(key, 0);
        return {};
      }
    }
    HELIUM_TRY(put(key, *newest));
    if (length > 0 || length_before > 0) result_.chains.set(key, length);
    return {};
  }

 private:
  Status put(const Key& key, const MemLayer::Entry& entry) {
    return writer_.add({key, entry.lsn}, entry.kind, entry.will_init, entry.value(), entry.shared ? entry.data : nullptr);
  }

  std::optional<Bytes> make_image(const Key& key, Lsn lsn) {
    if (!flush_.image_maker) return {};
    Result<Bytes> image = flush_.image_maker(key, lsn);
    if (image && image->size() == kPageSize) return std::move(*image);
    // The record stays: a page that redo refuses stays refused, for this key only.
    if (!failure_logged_) {
      log::info("no image for a long chain, the records stay",
                {{"key", to_string(key)}, {"lsn", lsn}, {"error", image ? "wrong size" : image.error().message}});
      failure_logged_ = true;
    }
    return {};
  }

  const DeltaFlush& flush_;
  const ChainLengths& chains_;
  LayerWriter& writer_;
  FlushedDelta& result_;
  std::vector<const MemLayer::Entry*> entries_;  // newest first
  bool failure_logged_ = false;
};

}  // namespace

uint32_t ChainLengths::of(const Key& key) const {
  const auto found = lengths_.find(key.hash());
  return found == lengths_.end() ? 0 : found->second;
}

void ChainLengths::set(const Key& key, uint32_t length) {
  lengths_[key.hash()] = length;
  bound();
}

void ChainLengths::merge(const ChainLengths& newer) {
  for (const auto& [hash, length] : newer.lengths_) {
    if (length == 0) {
      lengths_.erase(hash);
    } else {
      lengths_[hash] = length;
    }
  }
  bound();
}

void ChainLengths::bound() {
  for (uint32_t shorter_than = 2; lengths_.size() > kKeysMax; shorter_than *= 2) {
    std::erase_if(lengths_, [&](const auto& item) { return item.second < shorter_than; });
    if (shorter_than > 1u << 30) lengths_.clear();
  }
}

Result<FlushedDelta> write_delta_layer(const DeltaFlush& flush, const MemLayer& layer, const ChainLengths& chains) {
  MemLayer::Iterator keys(layer);
  const LayerRange range{LayerKind::kDelta, {keys.key(), layer.last_key().next()}, flush.lsns};
  HELIUM_ASSIGN(const auto writer, LayerWriter::create(flush.disk, flush.folder / layer_name(range), range));
  FlushedDelta result;
  KeyFlusher flusher(flush, chains, *writer, result);
  for (; keys.valid(); keys.next()) {
    if (flush.canceled != nullptr && flush.canceled->load(std::memory_order_relaxed)) {
      return fail(ErrorCode::kCanceled, "flush: stopping");
    }
    HELIUM_TRY(flusher.add(keys.key(), keys.newest()));
  }
  HELIUM_ASSIGN(const LayerHeader header, writer->finish());
  HELIUM_TRY(flush.disk->sync_folder(flush.folder));
  result.desc = {range, header.file_size};
  return result;
}

}  // namespace helium::layer
