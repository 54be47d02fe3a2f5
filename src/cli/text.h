// What lists look like: tables, and the tree of branches. Pure.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace helium::cli {

// Columns as wide as their widest cell, a blank before the first and two between; no blanks at the end of a line.
// Every row has as many cells as the header.
std::string format_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

struct TreeEntry {
  std::string name;
  TimelineId id;
  std::optional<TimelineId> ancestor_id;
  Lsn ancestor_lsn;  // only with an ancestor
};

// One line per timeline, children below their ancestor in the order given:
//   (L) main [de20…]
//   (L) ┣━ @0/16F9A00: dev [b3b8…]
//   (L) ┃  ┗━ @0/1700000: trial [77aa…]
//   (L) ┗━ @0/16FA000: fix [1c2d…]
// An entry whose ancestor is not in the list stands as a root.
std::string format_timeline_tree(const std::vector<TreeEntry>& entries);

}  // namespace helium::cli
