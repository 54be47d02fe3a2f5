// Any bytes as a record of any version: decoding stays within them, so do its views, and images restore or are refused.

#include "base/check.h"
#include "pg/wal_record.h"

using namespace helium;
using namespace helium::pg;

namespace {

bool within(ByteView part, ByteView whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kWalRecordHeader + 1) return 0;
  const int pg_version = 14 + data[0] % 5;
  Bytes record;
  for (const uint8_t b : std::span(data, size).subspan(1)) record.push_back(static_cast<std::byte>(b));
  store(record.data(), static_cast<uint32_t>(record.size()));  // or nothing would get past the first check

  const auto decoded = decode_record(record, pg_version);
  if (!decoded) return 0;
  std::array<std::byte, kBlockSize> page;
  CHECK(within(decoded->main_data, record));
  for (const BlockRef& block : decoded->blocks) {
    CHECK(within(block.data, record));
    if (!block.image) continue;
    CHECK(within(block.image->bytes, record));
    static_cast<void>(restore_image(*block.image, page));
  }
  CHECK(!record_type_name(decoded->rmgr, decoded->info, pg_version).empty());
  return 0;
}
