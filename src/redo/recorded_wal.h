// The WAL in src/redo/testdata, for tests and fuzzers.

#pragma once

#include <zstd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "base/bytes.h"
#include "base/source_dir.h"

namespace helium::redo::testing {

// The WAL of tests/redo_oracle/fixture.sql ("workload_15"), fixture_indexes.sql ("indexes_15") and fixture_maps.sql ("maps_18").
inline Bytes recorded_wal(const std::string& name) {
  std::ifstream file(source_path("src/redo/testdata/" + name + ".wal.zst"), std::ios::binary);
  const std::string packed((std::istreambuf_iterator<char>(file)), {});
  const auto size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN) return {};
  Bytes wal(size);
  const size_t got = ZSTD_decompress(wal.data(), wal.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) || got != wal.size()) return {};
  return wal;
}

}  // namespace helium::redo::testing
