// Where a path that PostgreSQL gave leads: what it means here, and the name that libc is to be given.
//
// The two differ for a tablespace that is reached by its location ("/mnt/fast/PG_15_202209061/5/16384", as a base backup
// does): the location is only a text, so such a path becomes pg_tblspc/OID/…
// Cheap for others: one look for "/PG_" in absolute paths that mean nothing here.

#pragma once

#include "vfs/path_map.h"

namespace helium::vfs {

class Place {
 public:
  explicit Place(const char* given);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const char* name;
  MappedPath path;

  bool is(PathKind kind) const { return path.kind == kind; }
  bool is_file() const { return is(PathKind::kRelFile) || is(PathKind::kSlruFile); }
  bool is_database() const { return is(PathKind::kRelDir) && path.dbnode != 0; }
  bool is_absolute() const { return absolute_; }  // an absolute path that means nothing here
  // LOCATION/PG_15_… of a tablespace that is being made: that folder's name, else null. It never exists.
  const char* new_version_folder() const;

 private:
  bool lead_to_tablespace();

  bool absolute_ = false;
  char buffer_[1200];  // MAXPGPATH is 1024
};

}  // namespace helium::vfs
