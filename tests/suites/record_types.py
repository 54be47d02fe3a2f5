"""Which record types change blocks, and where one that a run did not produce is tested."""

# Of every resource manager whose redo works on pages (src/redo/README.md); XLOG's images are applied, never compared.
COMMON = {
    "HEAP": "INSERT INSERT+INIT DELETE UPDATE UPDATE+INIT HOT_UPDATE CONFIRM LOCK INPLACE",
    "BTREE": "INSERT_LEAF INSERT_UPPER INSERT_META SPLIT_L SPLIT_R INSERT_POST DEDUP DELETE UNLINK_PAGE UNLINK_PAGE_META "
             "NEWROOT MARK_PAGE_HALFDEAD VACUUM META_CLEANUP",
    "HASH": "INIT_META_PAGE INIT_BITMAP_PAGE INSERT ADD_OVFL_PAGE SPLIT_ALLOCATE_PAGE SPLIT_COMPLETE MOVE_PAGE_CONTENTS "
            "SQUEEZE_PAGE DELETE SPLIT_CLEANUP UPDATE_META_PAGE VACUUM_ONE_PAGE",
    "GIN": "CREATE_PTREE INSERT DELETE_PAGE UPDATE_META_PAGE INSERT_LISTPAGE DELETE_LISTPAGE VACUUM_DATA_LEAF_PAGE",
    "GIST": "PAGE_UPDATE DELETE PAGE_SPLIT PAGE_DELETE",
    "SEQ": "LOG",
    "SPGIST": "ADD_LEAF MOVE_LEAFS ADD_NODE SPLIT_TUPLE PICKSPLIT VACUUM_LEAF VACUUM_ROOT VACUUM_REDIRECT",
    "BRIN": "CREATE_INDEX INSERT INSERT+INIT UPDATE UPDATE+INIT SAMEPAGE_UPDATE REVMAP_EXTEND DESUMMARIZE",
    "GENERIC": "Generic",
}
HEAP2 = "VISIBLE MULTI_INSERT MULTI_INSERT+INIT LOCK_UPDATED "
HEAP2_PRUNE = {14: "PRUNE VACUUM FREEZE_PAGE", 15: "PRUNE VACUUM FREEZE_PAGE", 16: "PRUNE VACUUM FREEZE_PAGE",
               17: "PRUNE_ON_ACCESS PRUNE_VACUUM_SCAN PRUNE_VACUUM_CLEANUP",
               18: "PRUNE_ON_ACCESS PRUNE_VACUUM_SCAN PRUNE_VACUUM_CLEANUP"}

# Always full images by design, which are applied and not compared.
IMAGES_ONLY = {"HASH/SPLIT_PAGE", "GIN/SPLIT", "GIN/VACUUM_PAGE"}

# The recorded WAL that each run of redo_test replays (src/redo/testdata) shows all types but these (kNotRecorded in
# src/redo/oracle_test.cc, which also says which blocks of a type have tests by hand).
RECORDED = "RecordedWal.ReplaysWithoutADifferenceAndShowsEveryKindOfBlock (src/redo/oracle_test.cc)"
BY_HAND = {"BTREE/INSERT_META": "BtreeRedo.AnInsertThatMovesTheFastRootChangesPageChildAndMetapage (src/redo/btree_redo_test.cc)"}


def expected(pg_version):
    types = dict(COMMON, HEAP2=HEAP2 + HEAP2_PRUNE[pg_version])
    return [f"{rmgr}/{name}" for rmgr, names in sorted(types.items()) for name in names.split()]


def table(counts, pg_version):
    """Records compared by type, sums by resource manager, and what never came."""
    lines, sums = [], {}
    for name, compared in sorted(counts.items()):
        rmgr = name.split("/")[0]
        sums[rmgr] = sums.get(rmgr, 0) + compared
        lines.append(f"  {name:28} {compared:>10}")
    lines.append("by resource manager:")
    lines += [f"  {rmgr:28} {total:>10}" for rmgr, total in sorted(sums.items())]
    missing = [name for name in expected(pg_version) if not counts.get(name)]
    lines.append(f"never compared here: {len(missing)}")
    for test in sorted({BY_HAND.get(name, RECORDED) for name in missing}):
        lines.append(f"  of {test}: {' '.join(name for name in missing if BY_HAND.get(name, RECORDED) == test)}")
    return "pages compared after records:\n" + "\n".join(lines)
