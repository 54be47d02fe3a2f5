// MemLayer: an in-memory layer; open while it is written, frozen afterwards.
//
// One writer, many readers, no locks: the writer publishes finished nodes and versions with release stores, readers
// follow them with acquire loads. A hash table finds a key in constant time; a skip list keeps the keys in order, for
// scans and for writing the layer file. Nothing is freed or moved before the layer itself goes, and values point into
// it: hold the shared_ptr while you use them (get() returns versions that do).
// Memory: about 60 bytes a key, 32 bytes a version, and one copy of each value. Unit of all sizes: bytes.
// Threads: put() by one thread at a time; everything else from any.

#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "layer/value.h"
#include "layer/version_query.h"

namespace helium::layer {

class MemLayer : public std::enable_shared_from_this<MemLayer> {
 public:
  struct Entry {
    Lsn lsn;
    const Entry* older;
    const std::byte* data;
    uint32_t size;
    ValueKind kind;
    bool will_init;
    bool shared;  // another entry of this layer points to the same data

    ByteView value() const { return {data, size}; }
  };

 private:
  struct Node;

 public:
  MemLayer();
  ~MemLayer();
  MemLayer(const MemLayer&) = delete;
  MemLayer& operator=(const MemLayer&) = delete;

  // LSNs do not descend. A second put of one (key, lsn) replaces the first.
  void put(Lsn lsn, std::span<const Put> puts);

  bool empty() const { return first() == nullptr; }
  uint64_t memory() const { return memory_.load(std::memory_order_relaxed); }
  uint64_t versions() const { return versions_.load(std::memory_order_relaxed); }

  // Appends what the query wants, newest first. True: the last one ends the query.
  bool collect(const VersionQuery& query, std::vector<Version>& found) const;
  Version version_of(const Entry& entry) const;

  // Keys in ascending order.
  class Iterator {
   public:
    explicit Iterator(const MemLayer& layer) : layer_(&layer), node_(layer.first()) {}
    void seek(const Key& from);  // to the first key that is not below
    bool valid() const { return node_ != nullptr; }
    const Key& key() const;
    const Entry* newest() const;
    void next();

   private:
    const MemLayer* layer_;
    const Node* node_;
  };
  Key last_key() const;  // Precondition: not empty

 private:
  static constexpr int kHeightMax = 12;
  struct Table;

  const Node* first() const;
  Node* find(const Key& key, uint64_t hash) const;
  Node* insert(const Key& key, uint64_t hash);
  void add_to_table(Node* node, uint64_t hash);
  // The last node below `key` on each level.
  void find_before(const Key& key, Node** before) const;
  std::byte* allocate(size_t size);
  int random_height();

  // Written by the writer only.
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::byte* chunk_next_ = nullptr;
  size_t chunk_rest_ = 0;
  size_t chunk_size_ = 4096;
  std::vector<std::unique_ptr<Table>> tables_;  // old ones stay for readers that are in them
  size_t keys_ = 0;
  uint64_t random_ = 0x2545F4914F6CDD1D;
  std::atomic<int> height_{1};

  // Shared with readers.
  Node* head_ = nullptr;  // constant after construction
  std::atomic<Table*> table_{nullptr};
  std::atomic<uint64_t> memory_{0};
  std::atomic<uint64_t> versions_{0};
};

}  // namespace helium::layer
