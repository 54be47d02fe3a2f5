// Carries out a change of one timeline's members: sends what walclient::MembershipChange wants said to the safekeepers'
// management APIs, and hands it the answers.
//
// Blocking. Nothing is remembered here: whoever dies in the middle is gone on from by the next call, of any process.
// Errors: kInvalid: the order makes no sense or another change is in the way; kTimeout: nothing moved for a while, says
// who does not answer. Both say what to do.

#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "cli/config.h"
#include "walclient/membership_change.h"

namespace helium::cli {

// The addresses of all safekeepers that the cluster knows, as members name them.
std::vector<wire::Member> known_members(const ClusterConfig& config);

// `say` gets a line whenever there is something new to tell. Returns the membership that is in force at the end.
Result<wire::Membership> run_membership_change(const ClusterConfig& config, const TenantId& tenant,
                                               const TimelineConfig& timeline,
                                               walclient::MembershipChange::Config order,
                                               const std::function<void(const std::string&)>& say);

}  // namespace helium::cli
