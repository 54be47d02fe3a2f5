#include "wire/membership.h"

#include <gtest/gtest.h>

#include "wire/membership_json.h"
#include "wire/quorum.h"

namespace helium::wire {
namespace {

std::vector<Member> list(std::vector<uint64_t> ids) {
  std::vector<Member> members;
  for (const uint64_t id : ids) members.push_back({id, "host", 5454, 7676});
  return members;
}

TEST(Membership, ComesBackFromItsBytesAndEveryTruncationIsNoticed) {
  for (const Membership& membership : {Membership{1, list({1}), {}, {}}, Membership{7, list({1, 2, 3}), list({1, 2, 4}), {}},
                                       Membership{8, list({1, 2, 4}), {}, list({1, 2, 3})}}) {
    ByteWriter out;
    put_membership(out, membership);
    const Bytes bytes = out.take();
    bool valid = true;
    ByteReader in(bytes);
    EXPECT_EQ(get_membership(in, valid), membership);
    EXPECT_TRUE(valid && in.done());
    for (size_t size = 0; size < bytes.size(); ++size) {
      bool cut_valid = true;
      ByteReader cut(ByteView(bytes).first(size));
      (void)get_membership(cut, cut_valid);
      EXPECT_FALSE(cut_valid && cut.done()) << size;
    }
  }
}

TEST(Membership, WhatNoChangeWouldMakeIsInvalid) {
  EXPECT_TRUE(is_valid_membership({1, list({1, 2, 3}), {}, {}}));
  EXPECT_FALSE(is_valid_membership({0, list({1, 2, 3}), {}, {}}));
  EXPECT_FALSE(is_valid_membership({1, {}, {}, {}}));
  EXPECT_FALSE(is_valid_membership({1, list({1, 1}), {}, {}}));
  EXPECT_FALSE(is_valid_membership({1, list({1, 0}), {}, {}}));
  EXPECT_FALSE(is_valid_membership({1, list({1}), list({2}), list({3})}));
}

TEST(Membership, SaysWhoItIs) {
  const Membership joint{3, list({1, 2, 3}), list({1, 2, 4}), {}};
  EXPECT_EQ(to_string(joint), "generation 3: 1,2,3 to 1,2,4");
  EXPECT_EQ(all_members(joint), list({1, 2, 3, 4}));
  EXPECT_TRUE(is_member(joint, 4));
  EXPECT_FALSE(is_member(Membership{4, list({1, 2, 4}), {}, list({1, 2, 3})}, 3));
}

TEST(MembershipJson, MessagesComeBackAndWhatIsWrongIsNamed) {
  const Membership joint{3, list({1, 2, 3}), list({1, 2, 4}), {}};
  EXPECT_EQ(*decode_membership_json(encode_json(joint)), joint);
  const ChangerId changer{{7, 8}};
  const auto prepare = decode_prepare_json(encode_json(PrepareRequest{4, changer}));
  ASSERT_TRUE(prepare.has_value());
  EXPECT_EQ(prepare->generation, 4u);
  EXPECT_EQ(prepare->changer, changer);
  const auto accept = decode_accept_json(encode_json(AcceptRequest{joint, {}}));
  ASSERT_TRUE(accept.has_value());
  EXPECT_EQ(accept->membership, joint);
  EXPECT_FALSE(accept->changer.is_valid());
  const auto fill = decode_fill_json(encode_json(FillRequest{3, 5, 4, Lsn(0x1600000)}));
  ASSERT_TRUE(fill.has_value());
  EXPECT_EQ(fill->flush_lsn, Lsn(0x1600000));
  const MembershipReply reply{1, joint, 4, changer, true, 5, 4, Lsn(0x1600000), Lsn(0x1500000), {{4, Lsn(0x1000000)}}};
  const auto back = decode_membership_reply_json(encode_json(reply));
  ASSERT_TRUE(back.has_value()) << back.error().message;
  EXPECT_EQ(encode_json(*back), encode_json(reply));

  EXPECT_EQ(decode_prepare_json("[]").error().message, "the body is no JSON object");
  EXPECT_NE(decode_prepare_json("{}").error().message.find("'generation'"), std::string::npos);
  EXPECT_NE(decode_accept_json(R"({"membership":{"generation":0,"members":[]}})").error().message.find("invalid"),
            std::string::npos);
  EXPECT_NE(decode_membership_json(R"({"generation":1,"members":[{"id":"x"}]})").error().message.find("'id'"),
            std::string::npos);
}

TEST(Quorum, AJointMembershipNeedsAMajorityOfBothHalves) {
  const Membership stable{1, list({1, 2, 3}), {}, {}};
  EXPECT_TRUE(is_quorum(stable, {1, 3}));
  EXPECT_FALSE(is_quorum(stable, {1, 4, 5}));
  const Membership joint{2, list({1, 2, 3}), list({3, 4, 5}), {}};
  EXPECT_FALSE(is_quorum(joint, {1, 2, 3}));
  EXPECT_FALSE(is_quorum(joint, {3, 4, 5}));
  EXPECT_TRUE(is_quorum(joint, {2, 3, 4}));
  EXPECT_TRUE(is_quorum(joint, {1, 2, 4, 5}));
}

TEST(Quorum, TheLsnOfAJointMembershipIsTheLowerOfItsHalves) {
  const std::map<uint64_t, Lsn> reached{{1, Lsn(100)}, {2, Lsn(200)}, {3, Lsn(300)}, {4, Lsn(50)}, {9, Lsn(900)}};
  EXPECT_EQ(quorum_lsn(Membership{1, list({1, 2, 3}), {}, {}}, reached), Lsn(200));
  EXPECT_EQ(quorum_lsn(Membership{2, list({1, 2, 3}), list({1, 2, 4}), {}}, reached), Lsn(100));
  EXPECT_EQ(quorum_lsn(Membership{2, list({1, 2, 3}), list({1, 5, 6}), {}}, reached), Lsn()) << "one of three is known";
  EXPECT_EQ(quorum_lsn(Membership{2, list({1, 2, 3}), list({3, 4, 5, 6, 7}), {}}, reached), Lsn());
}

}  // namespace
}  // namespace helium::wire
