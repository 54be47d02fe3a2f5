// WalWriter: WAL as a compute writes it, record by record, without saying what it is about.

#pragma once

#include "base/bytes.h"
#include "base/lsn.h"
#include "pg/constants.h"
#include "pg/wal_build.h"

namespace helium::sim {

class WalWriter {
 public:
  WalWriter() = default;
  // `last_record`: the start of the record before, for xl_prev.
  WalWriter(Lsn end, Lsn last_record, uint64_t system_id, int pg_version)
      : end_(end), last_record_(last_record), system_id_(system_id), pg_version_(pg_version) {}

  Lsn end() const { return end_; }
  Bytes record(size_t data_size, uint8_t filler) {
    const Bytes data(data_size, static_cast<std::byte>(filler));
    const Bytes record = pg::build_record(static_cast<uint8_t>(pg::Rmgr::kLogicalMsg), 0, 0, last_record_, data);
    last_record_ = pg::wal_record_start_after(end_);
    return pg::lay_out_record(end_, record, system_id_, pg_version_, &end_);
  }
  Bytes checkpoint(int64_t time) {
    const pg::Checkpoint checkpoint{.next_full_xid = 1000, .time = time};
    auto built = pg::build_shutdown_checkpoint(end_, last_record_, checkpoint, system_id_, pg_version_);
    last_record_ = built.record_start;
    end_ = built.end_lsn;
    return std::move(built.wal);
  }

 private:
  Lsn end_, last_record_;
  uint64_t system_id_ = 0;
  int pg_version_ = 15;
};

}  // namespace helium::sim
