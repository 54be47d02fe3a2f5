// Fuzzing one resource manager's redo from recorded WAL: each input picks a record of src/redo/testdata with the page as
// it was before, and says which bytes of both to change. So every input is deep inside of redo from the start.
// Input: u16 which record; u8 version; then changes: u16 where (record first, then the page), u8 value.

#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/check.h"
#include "pg/page.h"
#include "redo/mask.h"
#include "redo/oracle.h"
#include "redo/recorded_wal.h"

namespace helium::redo::testing {

class RecordedFuzz {
 public:
  RecordedFuzz(pg::Rmgr rmgr, const std::string& wal_name) {
    constexpr int kPerType = 40;
    std::map<std::string, int> seen;
    OracleOptions options;
    options.on_redo = [&](const std::string& type, const pg::BlockRef&, const PageBytes& page, ByteView record) {
      if (record[17] != static_cast<std::byte>(rmgr) || ++seen[type] > kPerType) return;
      samples_.push_back({page, Bytes(record.begin(), record.end())});
    };
    Oracle oracle(options);
    CHECK(replay_wal(oracle, recorded_wal(wal_name)).has_value());
    CHECK(!samples_.empty());
  }

  void run(const uint8_t* data, size_t size) const {
    if (size < 3) return;
    const auto& [old_page, old_record] = samples_[load<uint16_t>(data) % samples_.size()];
    const int version = 14 + data[2] % 5;
    Bytes record = old_record;
    PageBytes changed = old_page;
    for (size_t at = 3; at + 3 <= size; at += 3) {
      const size_t where = load<uint16_t>(data + at) % (record.size() - 24 + changed.size());
      const auto value = static_cast<std::byte>(data[at + 2]);
      if (where < record.size() - 24)
        record[24 + where] = value;
      else
        changed[where - (record.size() - 24)] = value;
    }
    const auto decoded = pg::decode_record(record, version);
    if (!decoded) return;
    for (const pg::BlockRef& ref : decoded->blocks) {
      PageBytes page = changed;
      if (!redo_block(*decoded, ref, RedoContext{Lsn::max(), version, true, ref.blkno, ref.rel}, page)) CHECK(page == changed);
      (void)mask_page(decoded->rmgr, decoded->info, ref.rel, ref.blkno, page);
    }
  }

 private:
  struct Sample {
    PageBytes page;
    Bytes record;
  };
  std::vector<Sample> samples_;
};

}  // namespace helium::redo::testing
