#include "pg/pglz.h"

#include <algorithm>

namespace helium::pg {

bool pglz_decompress(ByteView input, MutableByteView output) {
  constexpr size_t kLengthMin = 3;
  constexpr size_t kLengthExtended = 18;
  size_t in = 0, out = 0;
  const auto next = [&] { return std::to_integer<size_t>(input[in++]); };

  while (in < input.size() && out < output.size()) {
    size_t control = next();
    for (int item = 0; item < 8 && in < input.size() && out < output.size(); ++item, control >>= 1) {
      if ((control & 1) == 0) {
        output[out++] = input[in++];
        continue;
      }
      if (input.size() - in < 2) return false;
      const size_t first = next();
      const size_t offset = (first & 0xF0) << 4 | next();
      size_t length = (first & 0x0F) + kLengthMin;
      if (length == kLengthExtended) {
        if (in == input.size()) return false;
        length += next();
      }
      if (offset == 0 || offset > out) return false;
      length = std::min(length, output.size() - out);
      // Byte by byte: the copy may read what it has just written.
      for (; length > 0; --length, ++out) output[out] = output[out - offset];
    }
  }
  return in == input.size() && out == output.size();
}

}  // namespace helium::pg
