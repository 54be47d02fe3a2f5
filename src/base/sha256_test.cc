// Goal: digests are those of the standards, however the bytes come in. Method: the standards' examples; pieces.

#include "base/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace helium {
namespace {

std::string hex(ByteView bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<uint8_t>(byte) >> 4];
    text += kDigits[static_cast<uint8_t>(byte) & 15];
  }
  return text;
}
std::string sha256(std::string_view text) { return hex(Sha256().add(as_bytes(text)).finish()); }

// FIPS 180-4 examples.
TEST(Sha256, GivesTheStandardsDigests) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotCareHowBytesAreCut) {
  const std::string text(300, 'x');
  for (size_t size = 0; size <= text.size(); ++size) {
    const std::string whole = text.substr(0, size);
    Sha256 pieces;
    for (size_t at = 0; at < size; at += 7) pieces.add(as_bytes(whole.substr(at, 7)));
    EXPECT_EQ(hex(pieces.finish()), sha256(whole)) << size;
  }
}

// RFC 4231 test cases 2 and 6.
TEST(HmacSha256, GivesTheStandardsCodes) {
  EXPECT_EQ(hex(HmacSha256(as_bytes("Jefe")).add(as_bytes("what do ya want ")).add(as_bytes("for nothing?")).finish()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(HmacSha256(Bytes(131, std::byte{0xaa}))
                    .add(as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))
                    .finish()),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(HmacSha256, SecretsAreEqualOnlyWhole) {
  EXPECT_TRUE(equal_secrets(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(equal_secrets(as_bytes("abc"), as_bytes("abd")));
  EXPECT_FALSE(equal_secrets(as_bytes("abc"), as_bytes("ab")));
}

}  // namespace
}  // namespace helium
