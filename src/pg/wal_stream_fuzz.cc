// Any bytes as WAL, in any pieces: the decoder ends, stays within its bytes, and what it returns is contiguous.
// The first bytes choose the start and the size of the pieces. CRCs make whole records rare, so half of the inputs are
// records' contents that our own writer lays out, with one damaged byte.

#include <algorithm>

#include "base/check.h"
#include "pg/constants.h"
#include "pg/wal_build.h"
#include "pg/wal_stream.h"

using namespace helium;
using namespace helium::pg;

namespace {

void decode(Lsn start, ByteView wal, size_t piece) {
  WalStreamDecoder decoder(start);
  Lsn end = start;
  for (size_t at = 0; at < wal.size(); at += piece) {
    decoder.feed(wal.subspan(at, std::min(piece, wal.size() - at)));
    while (true) {
      const auto record = decoder.next();
      if (!record) {
        CHECK(!decoder.next());
        decoder.rewind();
        CHECK(decoder.fed_lsn() == end);
        return;
      }
      if (!*record) break;
      CHECK((*record)->start_lsn >= end);
      CHECK((*record)->end_lsn > (*record)->start_lsn);
      CHECK((*record)->end_lsn <= decoder.fed_lsn());
      CHECK((*record)->bytes.size() >= kWalRecordHeader);
      end = (*record)->end_lsn;
      CHECK(decoder.record_end_lsn() == end);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  const ByteView bytes = std::as_bytes(std::span(data, size));
  const Lsn start(uint64_t{kWalSegmentSize} * (1 + data[0] % 3) - 8 * load<uint16_t>(data + 1));
  const size_t piece = 1 + load<uint16_t>(data + 3) % 9000;
  const ByteView content = bytes.subspan(8);
  if (data[5] % 2 == 0) {
    decode(start, content, piece);
    return 0;
  }
  Bytes wal;
  Lsn at = start, prev(8);
  const size_t record_size = 1 + load<uint16_t>(data + 6);
  for (size_t done = 0; done < content.size(); done += record_size) {
    const Bytes record = build_record(data[5] % 22, data[5], data[6], prev,
                                      content.subspan(done, std::min(record_size, content.size() - done)));
    prev = wal_record_start_after(at);
    const Bytes laid_out = lay_out_record(at, record, 7, 15, &at);
    wal.insert(wal.end(), laid_out.begin(), laid_out.end());
  }
  if (!wal.empty() && data[5] % 4 == 1) wal[load<uint32_t>(data + 1) % wal.size()] ^= std::byte{data[7]};
  decode(start, wal, piece);
  return 0;
}
