// Fuzzes redo of GIN records: fuzz_recorded.h.

#include "redo/fuzz_recorded.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const helium::redo::testing::RecordedFuzz fuzz(helium::pg::Rmgr::kGin, "indexes_15");
  fuzz.run(data, size);
  return 0;
}
