#include "redo/block_types.h"

#include <fmt/format.h>

namespace helium::redo {

namespace {

struct Type {
  const char* name;
  std::initializer_list<int> blocks;  // ids that redo changes
};

constexpr std::initializer_list<int> kOne = {0};

const Type kTypes[] = {
    {"HEAP/INSERT", kOne},
    {"HEAP/INSERT+INIT", kOne},
    {"HEAP/DELETE", kOne},
    {"HEAP/UPDATE", {0, 1}},
    {"HEAP/UPDATE+INIT", {0, 1}},
    {"HEAP/HOT_UPDATE", kOne},
    {"HEAP/CONFIRM", kOne},
    {"HEAP/LOCK", kOne},
    {"HEAP/INPLACE", kOne},
    {"HEAP2/VISIBLE", {0, 1}},
    {"HEAP2/MULTI_INSERT", kOne},
    {"HEAP2/MULTI_INSERT+INIT", kOne},
    {"HEAP2/LOCK_UPDATED", kOne},
    {"BTREE/INSERT_LEAF", kOne},
    {"BTREE/INSERT_UPPER", {0, 1}},
    {"BTREE/INSERT_META", {0, 1, 2}},
    {"BTREE/INSERT_POST", kOne},
    {"BTREE/SPLIT_L", {0, 1, 2, 3}},
    {"BTREE/SPLIT_R", {0, 1, 2, 3}},
    {"BTREE/DEDUP", kOne},
    {"BTREE/DELETE", kOne},
    {"BTREE/VACUUM", kOne},
    {"BTREE/NEWROOT", {0, 1, 2}},
    {"BTREE/MARK_PAGE_HALFDEAD", {0, 1}},
    {"BTREE/UNLINK_PAGE", {0, 1, 2, 3}},
    {"BTREE/UNLINK_PAGE_META", {0, 1, 2, 3, 4}},
    {"BTREE/META_CLEANUP", kOne},
    {"SEQ/LOG", kOne},
    {"HASH/INIT_META_PAGE", kOne},
    {"HASH/INIT_BITMAP_PAGE", {0, 1}},
    {"HASH/INSERT", {0, 1}},
    {"HASH/ADD_OVFL_PAGE", {0, 1, 2, 3, 4}},
    {"HASH/SPLIT_ALLOCATE_PAGE", {0, 1, 2}},
    {"HASH/SPLIT_COMPLETE", {0, 1}},
    {"HASH/MOVE_PAGE_CONTENTS", {1, 2}},
    {"HASH/SQUEEZE_PAGE", {1, 2, 3, 4, 5, 6}},
    {"HASH/DELETE", {1}},
    {"HASH/SPLIT_CLEANUP", kOne},
    {"HASH/UPDATE_META_PAGE", kOne},
    {"HASH/VACUUM_ONE_PAGE", {0, 1}},
    {"GIN/CREATE_PTREE", kOne},
    {"GIN/INSERT", {0, 1}},
    {"GIN/SPLIT", {3}},
    {"GIN/VACUUM_DATA_LEAF_PAGE", kOne},
    {"GIN/DELETE_PAGE", {0, 1, 2}},
    {"GIN/UPDATE_META_PAGE", {0, 1}},
    {"GIN/INSERT_LISTPAGE", kOne},
    {"GIN/DELETE_LISTPAGE", {0, 1}},
    {"GIST/PAGE_UPDATE", {0, 1}},
    {"GIST/DELETE", kOne},
    {"GIST/PAGE_SPLIT", {0, 1, 2}},
    {"GIST/PAGE_DELETE", {0, 1}},
    {"SPGIST/ADD_LEAF", {0, 1}},
    {"SPGIST/MOVE_LEAFS", {0, 1, 2}},
    {"SPGIST/ADD_NODE", {0, 1, 2}},
    {"SPGIST/SPLIT_TUPLE", {0, 1}},
    {"SPGIST/PICKSPLIT", {0, 1, 2, 3}},
    {"SPGIST/VACUUM_LEAF", kOne},
    {"SPGIST/VACUUM_ROOT", kOne},
    {"SPGIST/VACUUM_REDIRECT", kOne},
    {"BRIN/CREATE_INDEX", kOne},
    {"BRIN/INSERT", {0, 1}},
    {"BRIN/INSERT+INIT", {0, 1}},
    {"BRIN/UPDATE", {0, 1, 2}},
    {"BRIN/UPDATE+INIT", {0, 1, 2}},
    {"BRIN/SAMEPAGE_UPDATE", kOne},
    {"BRIN/REVMAP_EXTEND", {0, 1}},
    {"BRIN/DESUMMARIZE", {0, 1}},
    {"GENERIC/Generic", kOne},
};

const Type kPrune14[] = {{"HEAP2/PRUNE", kOne}, {"HEAP2/VACUUM", kOne}, {"HEAP2/FREEZE_PAGE", kOne}};
// 17 and later; map pages as blocks are written by the minor versions from 17.11 and 18.6 on.
const Type kPrune17[] = {{"HEAP2/PRUNE_ON_ACCESS", kOne},
                         {"HEAP2/PRUNE_VACUUM_SCAN", kOne},
                         {"HEAP2/PRUNE_VACUUM_CLEANUP", kOne},
                         {"HEAP/INSERT", {1}},
                         {"HEAP/DELETE", {1}},
                         {"HEAP/UPDATE", {2, 3}},
                         {"HEAP/UPDATE+INIT", {3}},
                         {"HEAP/HOT_UPDATE", {3}},
                         {"HEAP/LOCK", {1}},
                         {"HEAP2/MULTI_INSERT", {1}},
                         {"HEAP2/LOCK_UPDATED", {1}}};

template <size_t N>
void add(const Type (&types)[N], std::vector<std::string>& names) {
  for (const Type& type : types)
    for (const int block : type.blocks)
      names.push_back(block == 0 ? type.name : fmt::format("{} blk {}", type.name, block));
}

}  // namespace

std::vector<std::string> native_block_types(int pg_version) {
  std::vector<std::string> names;
  add(kTypes, names);
  if (pg_version >= 17)
    add(kPrune17, names);
  else
    add(kPrune14, names);
  return names;
}

}  // namespace helium::redo
