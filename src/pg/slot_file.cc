#include "pg/slot_file.h"

#include <fmt/format.h>

#include "base/crc32c.h"

namespace helium::pg {
namespace {

constexpr uint32_t kMagic = 0x1051CA1;
constexpr uint32_t kVersionMin = 2, kVersionMax = 5;
constexpr size_t kNameSize = 64;
constexpr size_t kChecksummedFrom = 8;

}  // namespace

Result<SlotFile> decode_slot_file(ByteView bytes) {
  ByteReader reader(bytes);
  const uint32_t magic = reader.u32();
  const uint32_t checksum = reader.u32();
  const uint32_t version = reader.u32();
  const uint32_t length = reader.u32();
  if (reader.failed() || magic != kMagic) return fail(ErrorCode::kCorrupt, "read the state of a slot: it is none");
  if (version < kVersionMin || version > kVersionMax)
    return fail(ErrorCode::kTooNew, fmt::format("read the state of a slot: its version {} is not known", version));
  if (length != reader.remaining() || Crc32c().add(bytes.subspan(kChecksummedFrom)).value() != checksum)
    return fail(ErrorCode::kCorrupt, "read the state of a slot: its length or checksum is wrong");
  SlotFile slot;
  const std::string_view name = as_text(reader.raw(kNameSize));
  slot.name = name.substr(0, name.find('\0'));
  slot.dbnode = reader.u32();
  slot.persistent = reader.u32() == 0;
  reader.u64();  // xmin, catalog_xmin
  slot.restart_lsn = reader.lsn();
  if (reader.failed()) return fail(ErrorCode::kCorrupt, "read the state of a slot: it is too short");
  return slot;
}

}  // namespace helium::pg
