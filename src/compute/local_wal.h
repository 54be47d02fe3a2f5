// LocalWal: reads the WAL that PostgreSQL writes into its pg_wal folder.
//
// Unit: LSNs; bytes are as they stand in the segment files, page headers included. Owns one open segment at a time.
// Errors: kNotFound: no such segment file; kTruncated: the file is shorter than asked; kIo.
// Threads: one. PostgreSQL writes to the same files meanwhile: what lies behind its last write means nothing.

#pragma once

#include <cstdint>
#include <filesystem>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/result.h"
#include "io/fd.h"

namespace helium::compute {

class LocalWal {
 public:
  explicit LocalWal(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // The bytes at [from, from + bytes.size()), over as many segments as it takes.
  Status read(Lsn from, MutableByteView bytes);

 private:
  Status open_segment(uint64_t segno);

  const std::filesystem::path folder_;
  Fd segment_;
  uint64_t segno_ = UINT64_MAX;
};

}  // namespace helium::compute
