// Names of record types, per major version. Source: PostgreSQL 15 rmgrdesc/*.c and the *xlog.h headers.

#include <fmt/format.h>

#include <span>

#include "pg/wal_record.h"

namespace helium::pg {
namespace {

struct Name {
  uint8_t op;  // xl_info & 0xF0, or & 0x70 where 0x80 is a flag
  const char* text;
};

constexpr Name kXlogOps[] = {{0x00, "CHECKPOINT_SHUTDOWN"}, {0x10, "CHECKPOINT_ONLINE"}, {0x20, "NOOP"},
                             {0x30, "NEXTOID"},             {0x40, "SWITCH"},            {0x50, "BACKUP_END"},
                             {0x60, "PARAMETER_CHANGE"},    {0x70, "RESTORE_POINT"},     {0x80, "FPW_CHANGE"},
                             {0x90, "END_OF_RECOVERY"},     {0xA0, "FPI_FOR_HINT"},      {0xB0, "FPI"},
                             {0xD0, "OVERWRITE_CONTRECORD"}};
constexpr Name kXlogOps17[] = {{0xE0, "CHECKPOINT_REDO"}};
constexpr Name kXactOps[] = {{0x00, "COMMIT"},          {0x10, "PREPARE"},        {0x20, "ABORT"},
                             {0x30, "COMMIT_PREPARED"}, {0x40, "ABORT_PREPARED"}, {0x50, "ASSIGNMENT"},
                             {0x60, "INVALIDATION"}};
constexpr Name kSmgrOps[] = {{0x10, "CREATE"}, {0x20, "TRUNCATE"}};
constexpr Name kSlruOps[] = {{0x00, "ZEROPAGE"}, {0x10, "TRUNCATE"}};
constexpr Name kDbaseOps14[] = {{0x00, "CREATE"}, {0x10, "DROP"}};
constexpr Name kDbaseOps15[] = {{0x00, "CREATE_FILE_COPY"}, {0x10, "CREATE_WAL_LOG"}, {0x20, "DROP"}};
constexpr Name kTblspcOps[] = {{0x00, "CREATE"}, {0x10, "DROP"}};
constexpr Name kMultixactOps[] = {{0x00, "ZERO_OFF_PAGE"}, {0x10, "ZERO_MEM_PAGE"}, {0x20, "CREATE_ID"},
                                  {0x30, "TRUNCATE_ID"}};
constexpr Name kRelmapOps[] = {{0x00, "UPDATE"}};
constexpr Name kStandbyOps[] = {{0x00, "LOCK"}, {0x10, "RUNNING_XACTS"}, {0x20, "INVALIDATIONS"}};
constexpr Name kHeap2Ops14[] = {{0x00, "REWRITE"}, {0x10, "PRUNE"},        {0x20, "VACUUM"},       {0x30, "FREEZE_PAGE"},
                                {0x40, "VISIBLE"}, {0x50, "MULTI_INSERT"}, {0x60, "LOCK_UPDATED"}, {0x70, "NEW_CID"}};
constexpr Name kHeap2Ops17[] = {{0x10, "PRUNE_ON_ACCESS"}, {0x20, "PRUNE_VACUUM_SCAN"}, {0x30, "PRUNE_VACUUM_CLEANUP"}};
constexpr Name kHeapOps[] = {{0x00, "INSERT"},     {0x10, "DELETE"},  {0x20, "UPDATE"}, {0x30, "TRUNCATE"},
                             {0x40, "HOT_UPDATE"}, {0x50, "CONFIRM"}, {0x60, "LOCK"},   {0x70, "INPLACE"}};
constexpr Name kBtreeOps[] = {{0x00, "INSERT_LEAF"}, {0x10, "INSERT_UPPER"}, {0x20, "INSERT_META"},
                              {0x30, "SPLIT_L"},     {0x40, "SPLIT_R"},      {0x50, "INSERT_POST"},
                              {0x60, "DEDUP"},       {0x70, "DELETE"},       {0x80, "UNLINK_PAGE"},
                              {0x90, "UNLINK_PAGE_META"}, {0xA0, "NEWROOT"}, {0xB0, "MARK_PAGE_HALFDEAD"},
                              {0xC0, "VACUUM"},      {0xD0, "REUSE_PAGE"},   {0xE0, "META_CLEANUP"}};
constexpr Name kHashOps[] = {{0x00, "INIT_META_PAGE"},      {0x10, "INIT_BITMAP_PAGE"},   {0x20, "INSERT"},
                             {0x30, "ADD_OVFL_PAGE"},       {0x40, "SPLIT_ALLOCATE_PAGE"}, {0x50, "SPLIT_PAGE"},
                             {0x60, "SPLIT_COMPLETE"},      {0x70, "MOVE_PAGE_CONTENTS"}, {0x80, "SQUEEZE_PAGE"},
                             {0x90, "DELETE"},              {0xA0, "SPLIT_CLEANUP"},      {0xB0, "UPDATE_META_PAGE"},
                             {0xC0, "VACUUM_ONE_PAGE"}};
constexpr Name kGinOps[] = {{0x10, "CREATE_PTREE"},     {0x20, "INSERT"},          {0x30, "SPLIT"},
                            {0x40, "VACUUM_PAGE"},      {0x50, "DELETE_PAGE"},     {0x60, "UPDATE_META_PAGE"},
                            {0x70, "INSERT_LISTPAGE"},  {0x80, "DELETE_LISTPAGE"}, {0x90, "VACUUM_DATA_LEAF_PAGE"}};
constexpr Name kGistOps[] = {{0x00, "PAGE_UPDATE"}, {0x10, "DELETE"},      {0x20, "PAGE_REUSE"},
                             {0x30, "PAGE_SPLIT"},  {0x60, "PAGE_DELETE"}, {0x70, "ASSIGN_LSN"}};
constexpr Name kSeqOps[] = {{0x00, "LOG"}};
constexpr Name kSpgistOps[] = {{0x10, "ADD_LEAF"},    {0x20, "MOVE_LEAFS"},  {0x30, "ADD_NODE"},
                               {0x40, "SPLIT_TUPLE"}, {0x50, "PICKSPLIT"},   {0x60, "VACUUM_LEAF"},
                               {0x70, "VACUUM_ROOT"}, {0x80, "VACUUM_REDIRECT"}};
constexpr Name kBrinOps[] = {{0x00, "CREATE_INDEX"},    {0x10, "INSERT"},        {0x20, "UPDATE"},
                             {0x30, "SAMEPAGE_UPDATE"}, {0x40, "REVMAP_EXTEND"}, {0x50, "DESUMMARIZE"}};
constexpr Name kReplOriginOps[] = {{0x00, "SET"}, {0x10, "DROP"}};
constexpr Name kGenericOps[] = {{0x00, "Generic"}};
constexpr Name kLogicalMsgOps[] = {{0x00, "MESSAGE"}};

struct Manager {
  const char* name;
  std::span<const Name> ops;
  uint8_t flag;         // a bit of info's upper half that says more about the same operation
  const char* flagged;  // what it adds to the name; nullptr: nothing
};

constexpr Manager kManagers[] = {
    {"XLOG", kXlogOps, 0, nullptr},        {"XACT", kXactOps, 0x80, nullptr},
    {"SMGR", kSmgrOps, 0, nullptr},        {"CLOG", kSlruOps, 0, nullptr},
    {"DBASE", kDbaseOps15, 0, nullptr},    {"TBLSPC", kTblspcOps, 0, nullptr},
    {"MULTIXACT", kMultixactOps, 0, nullptr}, {"RELMAP", kRelmapOps, 0, nullptr},
    {"STANDBY", kStandbyOps, 0, nullptr},  {"HEAP2", kHeap2Ops14, 0x80, "+INIT"},
    {"HEAP", kHeapOps, 0x80, "+INIT"},     {"BTREE", kBtreeOps, 0, nullptr},
    {"HASH", kHashOps, 0, nullptr},        {"GIN", kGinOps, 0, nullptr},
    {"GIST", kGistOps, 0, nullptr},        {"SEQ", kSeqOps, 0, nullptr},
    {"SPGIST", kSpgistOps, 0, nullptr},    {"BRIN", kBrinOps, 0x80, "+INIT"},
    {"COMMIT_TS", kSlruOps, 0, nullptr},   {"REPLORIGIN", kReplOriginOps, 0, nullptr},
    {"GENERIC", kGenericOps, 0, nullptr},  {"LOGICALMSG", kLogicalMsgOps, 0, nullptr}};
static_assert(std::size(kManagers) == kLastBuiltinRmgr + 1);

const char* find(std::span<const Name> names, uint8_t op) {
  for (const Name& name : names)
    if (name.op == op) return name.text;
  return nullptr;
}

// What this version calls it, where that differs from the table.
std::span<const Name> special_ops(uint8_t rmgr, int pg_version) {
  if (rmgr == static_cast<uint8_t>(Rmgr::kXlog) && pg_version >= 17) return kXlogOps17;
  if (rmgr == static_cast<uint8_t>(Rmgr::kDbase) && pg_version <= 14) return kDbaseOps14;
  if (rmgr == static_cast<uint8_t>(Rmgr::kHeap2) && pg_version >= 17) return kHeap2Ops17;
  return {};
}

}  // namespace

std::string record_type_name(uint8_t rmgr, uint8_t info, int pg_version) {
  if (rmgr > kLastBuiltinRmgr) return fmt::format("RMGR{}/{:#04x}", rmgr, info & 0xF0);
  const Manager& manager = kManagers[rmgr];
  const uint8_t op = info & 0xF0 & ~manager.flag;
  const bool flagged = (info & manager.flag) != 0;
  const char* name = find(special_ops(rmgr, pg_version), op);
  const bool replaced = rmgr == static_cast<uint8_t>(Rmgr::kDbase) && pg_version <= 14;
  if (name == nullptr && !replaced) name = find(manager.ops, op);
  if (name == nullptr) return fmt::format("{}/{:#04x}", manager.name, info & 0xF0);
  return fmt::format("{}/{}{}", manager.name, name, flagged && manager.flagged != nullptr ? manager.flagged : "");
}

}  // namespace helium::pg
