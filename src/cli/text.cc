#include "cli/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace helium::cli {
namespace {

// Characters as a terminal shows them: bytes that do not continue a UTF-8 sequence.
size_t display_width(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void print_subtree(const std::vector<TreeEntry>& entries, const TreeEntry& entry, const std::string& indent,
                   std::string& out) {
  std::vector<const TreeEntry*> children;
  for (const TreeEntry& candidate : entries) {
    if (candidate.ancestor_id == entry.id) children.push_back(&candidate);
  }
  for (const TreeEntry* child : children) {
    const bool is_last = child == children.back();
    out += fmt::format("(L) {}{} @{}: {} [{}]\n", indent, is_last ? "┗━" : "┣━", to_string(child->ancestor_lsn),
                       child->name, to_string(child->id));
    print_subtree(entries, *child, indent + (is_last ? "   " : "┃  "), out);
  }
}

}  // namespace

std::string format_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) widths.push_back(display_width(cell));
  for (const auto& row : rows) {
    CHECK(row.size() == header.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += i == 0 ? " " : "  ";
      line += row[i];
      line.append(widths[i] - display_width(row[i]), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  print_row(header);
  for (const auto& row : rows) print_row(row);
  return out;
}

std::string format_timeline_tree(const std::vector<TreeEntry>& entries) {
  std::string out;
  for (const TreeEntry& entry : entries) {
    const bool has_parent_here =
        entry.ancestor_id && std::ranges::find(entries, *entry.ancestor_id, &TreeEntry::id) != entries.end();
    if (has_parent_here) continue;
    out += fmt::format("(L) {} [{}]\n", entry.name, to_string(entry.id));
    print_subtree(entries, entry, "", out);
  }
  return out;
}

}  // namespace helium::cli
