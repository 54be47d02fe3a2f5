// Fuzzes redo of BRIN records: fuzz_recorded.h.

#include "redo/fuzz_recorded.h"

namespace {
const helium::redo::testing::RecordedFuzz& fuzz() {
  static const helium::redo::testing::RecordedFuzz fuzz({helium::pg::Rmgr::kBrin}, helium::redo::testing::kIndexes);
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
