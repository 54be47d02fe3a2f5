#include "layer/mem_layer.h"

#include <cstring>
#include <unordered_map>

#include "base/check.h"

namespace helium::layer {

struct MemLayer::Node {
  explicit Node(const Key& key) : key(key) {}
  const Key key;
  std::atomic<const Entry*> newest{nullptr};
  std::atomic<Node*> next[1];  // as many as the node is high
};

struct MemLayer::Table {
  explicit Table(size_t slots) : mask(slots - 1), slots(new std::atomic<Node*>[slots]()) {}
  const size_t mask;
  const std::unique_ptr<std::atomic<Node*>[]> slots;
};

MemLayer::MemLayer() {
  head_ = reinterpret_cast<Node*>(allocate(sizeof(Node) + (kHeightMax - 1) * sizeof(std::atomic<Node*>)));
  new (head_) Node(Key());
  for (int i = 0; i < kHeightMax; ++i) new (&head_->next[i]) std::atomic<Node*>(nullptr);
  tables_.push_back(std::make_unique<Table>(64));
  table_.store(tables_.back().get(), std::memory_order_release);
}

MemLayer::~MemLayer() = default;  // nodes and entries are plain memory of chunks_

std::byte* MemLayer::allocate(size_t size) {
  size = (size + 7) & ~size_t{7};
  if (size > chunk_rest_) {
    if (size > chunk_size_ / 4) {  // a chunk of its own; the current one goes on
      chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size));
      memory_.fetch_add(size, std::memory_order_relaxed);
      return chunks_.back().get();
    }
    chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(chunk_size_));
    memory_.fetch_add(chunk_size_, std::memory_order_relaxed);
    chunk_next_ = chunks_.back().get();
    chunk_rest_ = chunk_size_;
    chunk_size_ = std::min<size_t>(chunk_size_ * 2, 1 << 20);
  }
  std::byte* taken = chunk_next_;
  chunk_next_ += size;
  chunk_rest_ -= size;
  return taken;
}

int MemLayer::random_height() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  int height = 1;
  for (uint64_t bits = random_ >> 16; height < kHeightMax && (bits & 3) == 0; bits >>= 2) ++height;
  return height;
}

MemLayer::Node* MemLayer::find(const Key& key, uint64_t hash) const {
  const Table& table = *table_.load(std::memory_order_acquire);
  for (size_t i = hash;; ++i) {
    Node* node = table.slots[i & table.mask].load(std::memory_order_acquire);
    if (node == nullptr || node->key == key) return node;
  }
}

void MemLayer::add_to_table(Node* node, uint64_t hash) {
  Table* table = tables_.back().get();
  if ((keys_ + 1) * 2 > table->mask) {
    auto larger = std::make_unique<Table>((table->mask + 1) * 4);
    for (Node* other = head_->next[0].load(std::memory_order_relaxed); other != nullptr;
         other = other->next[0].load(std::memory_order_relaxed)) {
      size_t i = other->key.hash();
      while (larger->slots[i & larger->mask].load(std::memory_order_relaxed) != nullptr) ++i;
      larger->slots[i & larger->mask].store(other, std::memory_order_relaxed);
    }
    memory_.fetch_add((larger->mask + 1) * sizeof(void*), std::memory_order_relaxed);
    table_.store(larger.get(), std::memory_order_release);
    tables_.push_back(std::move(larger));
    table = tables_.back().get();
  }
  ++keys_;
  size_t i = hash;
  while (table->slots[i & table->mask].load(std::memory_order_relaxed) != nullptr) ++i;
  table->slots[i & table->mask].store(node, std::memory_order_release);
}

void MemLayer::find_before(const Key& key, Node** before) const {
  Node* node = head_;
  for (int level = height_.load(std::memory_order_relaxed) - 1; level >= 0; --level) {
    while (true) {
      Node* next = node->next[level].load(std::memory_order_acquire);
      if (next == nullptr || !(next->key < key)) break;
      node = next;
    }
    before[level] = node;
  }
}

MemLayer::Node* MemLayer::insert(const Key& key, uint64_t hash) {
  Node* before[kHeightMax];
  find_before(key, before);
  const int height = random_height();
  const int old_height = height_.load(std::memory_order_relaxed);
  for (int level = old_height; level < height; ++level) before[level] = head_;

  auto* node = reinterpret_cast<Node*>(allocate(sizeof(Node) + (height - 1) * sizeof(std::atomic<Node*>)));
  new (node) Node(key);
  for (int level = 0; level < height; ++level) {
    new (&node->next[level]) std::atomic<Node*>(before[level]->next[level].load(std::memory_order_relaxed));
  }
  add_to_table(node, hash);  // grows from the list, in which the node is not yet
  for (int level = 0; level < height; ++level) before[level]->next[level].store(node, std::memory_order_release);
  if (height > old_height) height_.store(height, std::memory_order_release);
  return node;
}

void MemLayer::put(Lsn lsn, std::span<const Put> puts) {
  // One stored copy for all puts whose bytes are the same memory. Batches are small; large ones get a map.
  std::vector<const std::byte*> copies(puts.size());
  std::vector<uint8_t> shared(puts.size());
  std::unordered_map<const std::byte*, size_t> first_use;
  for (size_t i = 0; i < puts.size(); ++i) {
    const ByteView bytes = puts[i].bytes;
    if (bytes.empty()) continue;
    size_t first = i;
    if (puts.size() <= 16) {
      for (size_t j = 0; j < i; ++j) {
        if (puts[j].bytes.data() == bytes.data() && puts[j].bytes.size() == bytes.size()) {
          first = j;
          break;
        }
      }
    } else {
      first = first_use.try_emplace(bytes.data(), i).first->second;
      if (puts[first].bytes.size() != bytes.size()) first = i;
    }
    if (first != i) {
      copies[i] = copies[first];
      shared[i] = shared[first] = 1;
      continue;
    }
    std::byte* copy = allocate(bytes.size());
    std::memcpy(copy, bytes.data(), bytes.size());
    copies[i] = copy;
  }

  for (size_t i = 0; i < puts.size(); ++i) {
    const Put& put = puts[i];
    const uint64_t hash = put.key.hash();
    Node* node = find(put.key, hash);
    if (node == nullptr) node = insert(put.key, hash);
    const Entry* older = node->newest.load(std::memory_order_relaxed);
    if (older != nullptr && older->lsn == lsn) {
      older = older->older;  // replaced
    } else {
      versions_.fetch_add(1, std::memory_order_relaxed);
    }
    CHECK(older == nullptr || older->lsn < lsn);
    auto* entry = new (allocate(sizeof(Entry))) Entry{
        lsn, older, copies[i], static_cast<uint32_t>(put.bytes.size()), put.kind, put.will_init, shared[i] != 0};
    node->newest.store(entry, std::memory_order_release);
  }
}

Version MemLayer::version_of(const Entry& entry) const {
  return {entry.lsn, entry.kind, entry.will_init, SharedBytes(shared_from_this(), entry.value())};
}

bool MemLayer::collect(const VersionQuery& query, std::vector<Version>& found) const {
  const Node* node = find(query.key, query.key.hash());
  if (node == nullptr) return false;
  for (const Entry* entry = node->newest.load(std::memory_order_acquire);
       entry != nullptr && query.after < entry->lsn; entry = entry->older) {
    if (query.at < entry->lsn) continue;
    found.push_back(version_of(*entry));
    if (query.ends_at(found.back())) return true;
  }
  return false;
}

const MemLayer::Node* MemLayer::first() const { return head_->next[0].load(std::memory_order_acquire); }

Key MemLayer::last_key() const {
  const Node* node = head_;
  for (int level = kHeightMax - 1; level >= 0; --level) {
    while (const Node* next = node->next[level].load(std::memory_order_acquire)) node = next;
  }
  CHECK(node != head_);
  return node->key;
}

void MemLayer::Iterator::seek(const Key& from) {
  Node* before[kHeightMax];
  layer_->find_before(from, before);
  node_ = before[0]->next[0].load(std::memory_order_acquire);
}

const Key& MemLayer::Iterator::key() const { return node_->key; }
const MemLayer::Entry* MemLayer::Iterator::newest() const { return node_->newest.load(std::memory_order_acquire); }
void MemLayer::Iterator::next() { node_ = node_->next[0].load(std::memory_order_acquire); }

}  // namespace helium::layer
