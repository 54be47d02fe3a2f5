// RecordWriter: the puts that one WAL record leads to, collected and then written at the record's end LSN.
//
// Ownership: views given to put_record and put_shared must live until write(); data and images are moved in.
// Not thread safe.

#pragma once

#include <deque>
#include <span>
#include <vector>

#include "layer/store.h"

namespace helium::pageserver {

class RecordWriter {
 public:
  // A new record: forgets what was collected.
  void start(ByteView record) {
    record_ = record;
    puts_.clear();
    owned_.clear();
  }

  // The whole record as a version of `key`. will_init: readers start from zeros and apply it.
  void put_record(const layer::Key& key, bool will_init) {
    puts_.push_back({key, layer::ValueKind::kRecord, will_init, record_});
  }
  void put_zero_page(const layer::Key& key) { puts_.push_back({key, layer::ValueKind::kZeroPage, true, {}}); }
  void put_tombstone(const layer::Key& key) { puts_.push_back({key, layer::ValueKind::kTombstone, true, {}}); }
  void put_image(const layer::Key& key, Bytes page) { put_owned(key, layer::ValueKind::kImage, std::move(page)); }
  void put_data(const layer::Key& key, Bytes data) { put_owned(key, layer::ValueKind::kData, std::move(data)); }

  Status write(layer::TimelineStore& store, Lsn lsn) const {
    if (puts_.empty()) return {};
    return store.write(lsn, puts_);
  }
  std::span<const layer::Put> puts() const { return puts_; }

 private:
  void put_owned(const layer::Key& key, layer::ValueKind kind, Bytes bytes) {
    owned_.push_back(std::move(bytes));
    puts_.push_back({key, kind, true, owned_.back()});
  }

  ByteView record_;
  std::vector<layer::Put> puts_;
  std::deque<Bytes> owned_;
};

}  // namespace helium::pageserver
