// Auxiliary files (pg/auxiliary_file.h): what PostgreSQL syncs of them goes into WAL as a logical message, and the sync
// returns when the quorum has it; a removal follows in WAL as well.
//
// The process that saves the file inserts the record itself, with PostgreSQL's own functions (XLogInsert and its kin, which
// the server exports to extensions): in order with its other WAL, without a connection, and without any lock but those of
// WAL insertion, which PostgreSQL itself takes wherever it saves such a file. No record is written where PostgreSQL may
// not write one (before and after production; a walsender that is being stopped): what is on disk by then, the agent
// carries after PostgreSQL has exited.
//
// Errors: as fsync: -1 and errno (EFBIG: the file is too large to be carried); PostgreSQL's own leave by longjmp, so nothing
// here is held across them. Threads: the process's one.
// Source: PostgreSQL 14 to 18 slot.c (SaveSlotToPath, CreateSlotOnDisk, ReplicationSlotDropPtr), snapbuild.c
// (SnapBuildSerialize), rewriteheap.c, xloginsert.h, postmaster.c, pg_control.h.

#pragma once

namespace helium::vfs {

// fsync of a file or folder that is neither blocks nor WAL. 0, or -1 and errno.
int sync_auxiliary(int fd);
// After rename(from, …) or unlink(name) worked.
void note_renamed(const char* from);
void note_unlinked(const char* name);

}  // namespace helium::vfs
