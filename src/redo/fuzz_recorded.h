// Fuzzing resource managers' redo from recorded WAL: each input picks a record of src/redo/testdata with the page as it
// was before, and says which bytes of both to change. So every input is deep inside of redo from the start.
// Input: u16 which record; u8 version (below 224: the record's own); then changes: u16 where (record first, then the
// page), u8 value.

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/check.h"
#include "pg/page.h"
#include "redo/mask.h"
#include "redo/oracle.h"
#include "redo/recorded_wal.h"

namespace helium::redo::testing {

struct RecordedFile {
  const char* name;
  int version;
};
inline constexpr RecordedFile kWorkloads[] = {{"workload_14", 14}, {"workload_15", 15}, {"workload_16", 16},
                                              {"workload_17", 17}, {"workload_18", 18},
                                              {"maps_17", 17},     {"maps_18", 18}};
inline constexpr RecordedFile kIndexes[] = {{"indexes_15", 15}, {"indexes_16", 16}, {"indexes_18", 18}};

class RecordedFuzz {
 public:
  RecordedFuzz(std::set<pg::Rmgr> rmgrs, std::span<const RecordedFile> files) {
    for (const RecordedFile& file : files) collect(rmgrs, file);
    CHECK(!samples_.empty());
  }

  void run(const uint8_t* data, size_t size) const {
    if (size < 3) return;
    const Sample& sample = samples_[load<uint16_t>(data) % samples_.size()];
    const int version = data[2] < 224 ? sample.version : 14 + data[2] % 5;
    Bytes record = sample.record;
    PageBytes changed = sample.page;
    for (size_t at = 3; at + 3 <= size; at += 3) {
      const size_t where = load<uint16_t>(data + at) % (record.size() - 24 + changed.size());
      const auto value = static_cast<std::byte>(data[at + 2]);
      if (where < record.size() - 24)
        record[24 + where] = value;
      else
        changed[where - (record.size() - 24)] = value;
    }
    if (const auto decoded = pg::decode_record(record, version)) replay(*decoded, version, changed);
  }

 private:
  struct Sample {
    PageBytes page;
    Bytes record;
    int version;
  };

  void collect(const std::set<pg::Rmgr>& rmgrs, const RecordedFile& file) {
    constexpr int kPerType = 40;
    std::map<std::string, int> seen;
    OracleOptions options;
    options.pg_version = file.version;
    const auto wanted = [&](const std::string& type, ByteView record) {
      return rmgrs.contains(static_cast<pg::Rmgr>(record[17])) && ++seen[type] <= kPerType;
    };
    options.on_redo = [&](const std::string& type, const pg::BlockRef&, const PageBytes& page, ByteView record) {
      if (wanted(type, record)) samples_.push_back({page, Bytes(record.begin(), record.end()), file.version});
    };
    options.on_record_without_block = [&](const std::string& type, ByteView record) {
      if (record.size() > 24 && wanted(type, record))
        samples_.push_back({PageBytes{}, Bytes(record.begin(), record.end()), file.version});
    };
    Oracle oracle(options);
    CHECK(replay_wal(oracle, recorded_wal(file.name)).has_value());
  }

  static void replay(const pg::DecodedRecord& record, int version, const PageBytes& old_page) {
    for (const pg::BlockRef& ref : record.blocks) {
      PageBytes page = old_page;
      if (!redo_block(record, ref, RedoContext{Lsn::max(), version, true, ref.blkno, ref.rel}, page)) CHECK(page == old_page);
      (void)mask_page(record.rmgr, record.info, ref.rel, ref.blkno, page);
    }
    for_each_vm_effect(record, version, [&](const VmPage& vm) {
      PageBytes page = old_page;
      (void)redo_vm_side_effect(record, RedoContext{Lsn::max(), version, false, vm.blkno, vm.rel}, page);
    });
    (void)for_each_slru_effect(record, version, [&](const SlruEffect& effect) {
      PageBytes page = old_page;
      (void)redo_slru_page(record, effect.segment, effect.page_in_segment, RedoContext{Lsn::max(), version}, page);
    });
  }

  std::vector<Sample> samples_;
};

}  // namespace helium::redo::testing
