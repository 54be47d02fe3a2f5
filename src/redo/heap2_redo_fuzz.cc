// Fuzzes redo of HEAP2 records: fuzz_recorded.h.

#include "redo/fuzz_recorded.h"

namespace {
const helium::redo::testing::RecordedFuzz& fuzz() {
  static const helium::redo::testing::RecordedFuzz fuzz({helium::pg::Rmgr::kHeap2}, helium::redo::testing::kWorkloads);
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
