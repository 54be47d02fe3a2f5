// Goal: count_while() agrees with counting, for every size and every place of the border.

#include "base/partition.h"

#include <gtest/gtest.h>

namespace helium {
namespace {

TEST(CountWhile, FindsTheBorderWhereverItIs) {
  for (size_t count = 0; count <= 20; ++count) {
    for (size_t border = 0; border <= count; ++border) {
      SCOPED_TRACE(testing::Message() << count << " indices, border at " << border);
      EXPECT_EQ(count_while(count, [&](size_t i) { return i < border; }), border);
    }
  }
}

}  // namespace
}  // namespace helium
