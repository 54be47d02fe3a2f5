#include <queue>

#include "layer/store_impl.h"

namespace helium::layer {
namespace {

// The keys of one layer in ascending order, each with its newest version <= cap.
class Source {
 public:
  virtual ~Source() = default;
  virtual Status start(const Key& from) = 0;
  virtual Status advance() = 0;  // to the next key
  bool valid = false;
  Key key;
  Lsn lsn;
  ValueKind kind{};
  virtual Result<Version> version() const = 0;
};

class MemSource final : public Source {
 public:
  MemSource(std::shared_ptr<MemLayer> layer, Key end, Lsn cap)
      : layer_(std::move(layer)), keys_(*layer_), end_(end), cap_(cap) {}

  Status start(const Key& from) override {
    keys_.seek(from);
    settle();
    return {};
  }
  Status advance() override {
    keys_.next();
    settle();
    return {};
  }
  Result<Version> version() const override { return layer_->version_of(*entry_); }

 private:
  void settle() {
    for (valid = false; keys_.valid() && keys_.key() < end_; keys_.next()) {
      entry_ = keys_.newest();
      while (entry_ != nullptr && cap_ < entry_->lsn) entry_ = entry_->older;
      if (entry_ == nullptr) continue;
      valid = true;
      key = keys_.key();
      lsn = entry_->lsn;
      kind = entry_->kind;
      return;
    }
  }

  const std::shared_ptr<MemLayer> layer_;
  MemLayer::Iterator keys_;
  const Key end_;
  const Lsn cap_;
  const MemLayer::Entry* entry_ = nullptr;
};

class FileSource final : public Source {
 public:
  FileSource(std::shared_ptr<const LayerFile> layer, Key end, Lsn cap)
      : cursor_(std::move(layer)), end_(end), cap_(cap) {}

  Status start(const Key& from) override {
    HELIUM_TRY(cursor_.seek({from, Lsn()}));
    return settle();
  }
  Status advance() override { return settle(); }
  Result<Version> version() const override { return Version{lsn, kind, will_init_, value_}; }

 private:
  // Takes all entries of the cursor's key, and leaves the cursor behind them.
  Status settle() {
    valid = false;
    while (!valid && cursor_.valid() && cursor_.entry().position.key < end_) {
      key = cursor_.entry().position.key;
      while (cursor_.valid() && cursor_.entry().position.key == key) {
        const EntryView& entry = cursor_.entry();
        if (entry.position.lsn <= cap_) {
          valid = true;
          lsn = entry.position.lsn;
          kind = entry.kind;
          will_init_ = entry.will_init;
          HELIUM_ASSIGN(value_, cursor_.value());
        }
        HELIUM_TRY(cursor_.next());
      }
    }
    return {};
  }

  LayerCursor cursor_;
  const Key end_;
  const Lsn cap_;
  bool will_init_ = true;
  SharedBytes value_;
};

struct ImageCover {
  KeyRange keys;
  Lsn lsn;
};

}  // namespace

Status StoreImpl::scan_latest(const KeyRange& range, Lsn at,
                              const std::function<bool(const Key&, const Version&)>& visit) const {
  // Ancestors are older than anything of their children: a key's newest version is the one with the highest LSN, and
  // LSNs are capped on the way down.
  std::vector<std::unique_ptr<Source>> sources;
  std::vector<ImageCover> covers;
  Lsn cap = at;
  for (const StoreImpl* store = this; store != nullptr; store = store->ancestor_.get()) {
    const std::shared_ptr<const StoreSnapshot> now = store->snapshot();
    sources.push_back(std::make_unique<MemSource>(now->open, range.end, cap));
    for (const auto& layer : now->frozen) sources.push_back(std::make_unique<MemSource>(layer, range.end, cap));
    LayerMap::Search search(*now->files, range, cap);
    while (const std::shared_ptr<const LayerFile>* layer = search.next()) {
      store->layers_visited_.fetch_add(1, std::memory_order_relaxed);
      sources.push_back(std::make_unique<FileSource>(*layer, range.end, cap));
      if ((*layer)->range().kind == LayerKind::kImage) {
        covers.push_back({(*layer)->range().keys, (*layer)->range().lsns.start()});
      }
    }
    if (store->ancestor_) cap = std::min(cap, store->start_lsn_);
  }

  const auto later = [](const Source* x, const Source* y) {  // the smallest key, its newest version on top
    if (x->key != y->key) return x->key > y->key;
    if (x->lsn != y->lsn) return x->lsn < y->lsn;
    return x->kind == ValueKind::kRecord && y->kind != ValueKind::kRecord;
  };
  std::priority_queue<Source*, std::vector<Source*>, decltype(later)> heap(later);
  for (const auto& source : sources) {
    HELIUM_TRY(source->start(range.start));
    if (source->valid) heap.push(source.get());
  }

  while (!heap.empty()) {
    const Source* winner = heap.top();
    const Key key = winner->key;
    // An image layer above says that the key is gone.
    bool absent = winner->kind == ValueKind::kTombstone;
    for (const ImageCover& cover : covers) absent = absent || (winner->lsn < cover.lsn && cover.keys.contains(key));
    if (!absent) {
      HELIUM_ASSIGN(const Version version, winner->version());
      if (!visit(key, version)) return {};
    }
    while (!heap.empty() && heap.top()->key == key) {
      Source* source = heap.top();
      heap.pop();
      HELIUM_TRY(source->advance());
      if (source->valid) heap.push(source);
    }
  }
  return {};
}

}  // namespace helium::layer
