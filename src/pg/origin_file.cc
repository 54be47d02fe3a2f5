#include "pg/origin_file.h"

#include "base/crc32c.h"

namespace helium::pg {
namespace {
constexpr uint32_t kMagic = 0x1257DADE;
constexpr size_t kEntrySize = 16;
}  // namespace

Bytes encode_origin_file(const std::vector<OriginProgress>& origins) {
  ByteWriter out;
  out.u32(kMagic);
  for (const OriginProgress& origin : origins) {
    out.u16(origin.origin_id);
    out.u16(0);
    out.u32(0);
    out.lsn(origin.remote_lsn);
  }
  out.u32(crc32c(out.view()));
  return out.take();
}

Result<std::vector<OriginProgress>> decode_origin_file(ByteView bytes) {
  if (bytes.size() < 8 || (bytes.size() - 8) % kEntrySize != 0)
    return fail(ErrorCode::kCorrupt, "read replication origins: a file of " + std::to_string(bytes.size()) + " bytes");
  ByteReader in(bytes);
  if (in.u32() != kMagic) return fail(ErrorCode::kCorrupt, "read replication origins: wrong magic number");
  if (load<uint32_t>(bytes.data() + bytes.size() - 4) != crc32c(bytes.first(bytes.size() - 4)))
    return fail(ErrorCode::kCorrupt, "read replication origins: wrong checksum");
  std::vector<OriginProgress> origins((bytes.size() - 8) / kEntrySize);
  for (OriginProgress& origin : origins) {
    origin.origin_id = in.u16();
    in.u16();
    in.u32();
    origin.remote_lsn = in.lsn();
  }
  return origins;
}

}  // namespace helium::pg
