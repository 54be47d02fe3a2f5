// Any bytes as pg_control (with the right checksum, or few would pass), a checkpoint, a parameter change, and as paths.

#include "base/check.h"
#include "base/crc32c.h"
#include "pg/control_file.h"
#include "pg/rel.h"
#include "pg/wal_segment.h"

using namespace helium;
using namespace helium::pg;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const int pg_version = 13 + data[0] % 7;
  Bytes bytes;
  for (const uint8_t b : std::span(data, size).subspan(1)) bytes.push_back(static_cast<std::byte>(b));
  const size_t crc_at = pg_version == 18 ? 292 : 288;
  if (bytes.size() >= crc_at + 4) store(bytes.data() + crc_at, crc32c(ByteView(bytes).first(crc_at)));

  if (auto file = ControlFile::parse(bytes, pg_version)) {
    static_cast<void>(file->apply_parameter_change(bytes));
    file->set_shutdown_checkpoint(file->checkpoint_lsn(), file->checkpoint(), 1);
    CHECK(ControlFile::parse(file->encode(), pg_version));
  }
  if (const auto checkpoint = decode_checkpoint(bytes, pg_version)) {
    CHECK(*decode_checkpoint(encode_checkpoint(*checkpoint, pg_version), pg_version) == *checkpoint);
  }
  static_cast<void>(read_segment_info(bytes));
  static_cast<void>(find_first_record(bytes, Lsn(uint64_t{data[0]} << 13)));
  if (const auto rel = parse_rel_path(as_text(bytes))) CHECK(rel->rel.relnode != 0);
  if (const auto segment = parse_slru_path(as_text(bytes))) CHECK(to_string(*segment) == as_text(bytes));
  return 0;
}
