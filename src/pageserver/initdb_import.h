// Import of a cluster that initdb made: all its blocks and small files become images at the end of its shutdown
// checkpoint, with a system identifier and an authentication nonce of their own (rule 23).
//
// Free space maps are left out: a compute starts without them. Errors: kCorrupt: the folder is no cleanly stopped
// cluster of that version, or a page is newer than the checkpoint; kIo. Not thread safe per store.

#pragma once

#include <filesystem>

#include "layer/store.h"
#include "pageserver/values.h"
#include "pg/control_file.h"

namespace helium::pageserver {

class InitdbImage {
 public:
  static Result<InitdbImage> open(const std::filesystem::path& data_dir, int pg_version);

  Lsn end_lsn() const { return end_lsn_; }  // where the timeline starts
  bool data_checksums() const { return control_.data_checksums(); }

  // Into a store that was created with start_lsn == end_lsn(). Durable when it returns. Returns the store's metadata.
  Result<TimelineMetadata> import_into(layer::TimelineStore& store, uint64_t system_identifier) const;

 private:
  InitdbImage(std::filesystem::path data_dir, int pg_version, pg::ControlFile control)
      : data_dir_(std::move(data_dir)), pg_version_(pg_version), control_(std::move(control)) {}

  Status import_relations(layer::ImageImport& import) const;
  Status import_slrus(layer::ImageImport& import) const;
  Status import_maps(layer::ImageImport& import) const;

  std::filesystem::path data_dir_;
  int pg_version_;
  pg::ControlFile control_;
  Lsn end_lsn_;
};

// PostgreSQL's own recipe: seconds, microseconds and process id; here seconds and random bits.
uint64_t new_system_identifier();

}  // namespace helium::pageserver
