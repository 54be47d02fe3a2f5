#include "pageserver/bootstrap.h"

#include <sys/stat.h>

#include "pageserver/format.h"
#include "pg/auxiliary_file.h"
#include "pg/constants.h"
#include "pg/origin_file.h"
#include "redo/xact_record.h"

namespace helium::pageserver {
namespace {

using layer::Key;
using layer::KeyKind;
using layer::KeyRange;
using layer::Version;

constexpr size_t kAuxiliaryTotalMax = size_t{48} << 20;  // the answer is one frame

Bytes text_bytes(const std::string& text) {
  const ByteView bytes = as_bytes(text);
  return Bytes(bytes.begin(), bytes.end());
}

// "base/5", or "pg_tblspc/16400/PG_15_202209061/5"; for dbnode 0 the tablespace itself.
std::string database_folder(uint32_t spcnode, uint32_t dbnode, int pg_version, uint32_t catalog_version) {
  if (spcnode == pg::kDefaultTablespace) return fmt::format("base/{}", dbnode);
  const std::string tablespace = fmt::format("pg_tblspc/{}/PG_{}_{}", spcnode, pg_version, catalog_version);
  return dbnode == 0 ? tablespace : fmt::format("{}/{}", tablespace, dbnode);
}

struct Collector {
  const Timeline& timeline;
  Lsn lsn;
  uint32_t catalog_version;
  wire::BootstrapReply& reply;

  void add_file(std::string path, Bytes content) {
    reply.files.push_back({std::move(path), 0600, std::move(content)});
  }

  Status add_databases() {
    const std::string version = std::to_string(timeline.pg_version()) + "\n";
    add_file("PG_VERSION", text_bytes(version));
    return timeline.store()->scan_latest(KeyRange::all_of(KeyKind::kDbDir), lsn, [&](const Key& key, const Version& value) {
      const std::string folder =
          database_folder(key.spcnode(), key.dbnode(), timeline.pg_version(), catalog_version);
      reply.folders.push_back(folder);
      if (key.dbnode() == 0) {
        // Without a location it is in place: a folder and no link.
        if (!value.bytes.view().empty())
          reply.files.push_back({fmt::format("pg_tblspc/{}", key.spcnode()), S_IFLNK | 0777, value.bytes.to_bytes()});
      } else if (is_whole_database(value.bytes.view())) {
        add_file(folder + "/PG_VERSION", text_bytes(version));
      }
      return true;
    });
  }

  Status add_relation_maps() {
    return timeline.store()->scan_latest(
        KeyRange::all_of(KeyKind::kRelmap), lsn, [&](const Key& key, const Version& version) {
          const std::string folder =
              key.dbnode() == 0 ? "global"
                                : database_folder(key.spcnode(), key.dbnode(), timeline.pg_version(), catalog_version);
          add_file(folder + "/pg_filenode.map", version.bytes.to_bytes());
          return true;
        });
  }

  Status add_twophase_files() {
    return timeline.store()->scan_latest(
        KeyRange::all_of(KeyKind::kTwophase), lsn, [&](const Key& key, const Version& version) {
          add_file("pg_twophase/" + redo::twophase_file_name(key.number(), timeline.pg_version()),
                   version.bytes.to_bytes());
          return true;
        });
  }

  // Of a branch only those that moved on the branch itself: see ingest_origins.cc.
  Status add_replication_origins() {
    std::vector<pg::OriginProgress> origins;
    Status status;
    HELIUM_TRY(timeline.store()->scan_latest(
        KeyRange::all_of(KeyKind::kReplOrigin), lsn, [&](const Key& key, const Version& version) {
          const auto value = decode_repl_origin(version.bytes.view());
          if (!value) status = fail(value.error());
          else if (value->local_lsn > timeline.ancestor_lsn())
            origins.push_back({static_cast<uint16_t>(key.number()), value->remote_lsn});
          return status.has_value();
        }));
    HELIUM_TRY(status);
    if (!origins.empty()) add_file(pg::kOriginFile, pg::encode_origin_file(origins));
    return {};
  }

  // Slots and what belongs to them: of a branch only its own, see ingest_auxiliary.cc. Statistics are written behind the
  // last checkpoint of a clean stop, and void once anything went on from there, as PostgreSQL voids them after a crash.
  Status add_auxiliary_files() {
    Status status;
    size_t total = 0;
    HELIUM_TRY(timeline.store()->scan_latest(
        KeyRange::all_of(KeyKind::kAuxFile), lsn, [&](const Key&, const Version& version) {
          auto value = decode_aux_file(version.bytes.view());
          if (!value) {
            status = fail(std::move(value).error());
            return false;
          }
          const pg::AuxiliaryKind kind = pg::auxiliary_kind(value->path);
          const Lsn valid_from =
              kind == pg::AuxiliaryKind::kStatistics ? reply.checkpoint.redo : timeline.ancestor_lsn();
          if (kind == pg::AuxiliaryKind::kNone || value->local_lsn <= valid_from) return true;
          total += value->content.size();
          add_file(std::move(value->path), std::move(value->content));
          return true;
        }));
    HELIUM_TRY(status);
    if (total <= kAuxiliaryTotalMax) return {};
    return fail(ErrorCode::kInvalid,
                fmt::format("the timeline's auxiliary files have {} bytes, more than {} cannot be brought to a compute: branch "
                            "from an LSN before and drop logical slots there",
                            total, kAuxiliaryTotalMax));
  }

  Status add_slru_segments() {
    HELIUM_ASSIGN(const auto segments, timeline.reader().list_slru(lsn));
    for (const PageReader::SlruFork& fork : segments) reply.slru_segments.push_back({fork.segment, fork.npages});
    return {};
  }
};

}  // namespace

Result<wire::BootstrapReply> build_bootstrap(const Timeline& timeline, Lsn lsn) {
  HELIUM_ASSIGN(const Timeline::StartPoint start, timeline.start_point(lsn));
  HELIUM_ASSIGN(const pg::ControlFile control, timeline.reader().control_file(lsn));
  wire::BootstrapReply reply;
  reply.pg_version = static_cast<uint32_t>(timeline.pg_version());
  reply.system_identifier = timeline.system_identifier();
  reply.lsn = lsn;
  reply.prev_record_start = start.record_start;
  reply.checkpoint = start.checkpoint;
  reply.control_file = control.encode();
  reply.is_branch = timeline.ancestor() != nullptr;
  Collector collector{timeline, lsn, control.catalog_version(), reply};
  HELIUM_TRY(collector.add_databases());
  HELIUM_TRY(collector.add_relation_maps());
  HELIUM_TRY(collector.add_twophase_files());
  HELIUM_TRY(collector.add_replication_origins());
  HELIUM_TRY(collector.add_auxiliary_files());
  HELIUM_TRY(collector.add_slru_segments());
  return reply;
}

}  // namespace helium::pageserver
