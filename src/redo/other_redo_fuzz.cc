// Fuzzes what the other redo fuzzers leave: sequences, full-page images, SLRU pages, cut visibility maps: fuzz_recorded.h.

#include "redo/fuzz_recorded.h"

namespace {
using helium::pg::Rmgr;
const helium::redo::testing::RecordedFuzz& fuzz() {
  static const helium::redo::testing::RecordedFuzz fuzz({Rmgr::kSeq, Rmgr::kXlog, Rmgr::kXact, Rmgr::kClog, Rmgr::kCommitTs, Rmgr::kMultixact, Rmgr::kSmgr}, helium::redo::testing::kWorkloads);
  return fuzz;
}
}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz();  // not a part of the first input's time
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz().run(data, size);
  return 0;
}
