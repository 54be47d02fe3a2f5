#include "wire/membership.h"

#include <gtest/gtest.h>

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
