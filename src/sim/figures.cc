#include "sim/world.h"

namespace helium::sim {

void Figures::add(const Figures& other) {
  schedules += other.schedules;
  events += other.events;
  elections += other.elections;
  records += other.records;
  commits += other.commits;
  records_read += other.records_read;
  crashes += other.crashes;
  truncations += other.truncations;
  catch_ups += other.catch_ups;
  full_disks += other.full_disks;
  lost_disks += other.lost_disks;
  damaged += other.damaged;
  lost_pages += other.lost_pages;
  torn_pages += other.torn_pages;
  lost_names += other.lost_names;
  partitions += other.partitions;
  changes_started += other.changes_started;
  changes_done += other.changes_done;
  changers_died += other.changers_died;
}

std::string to_string(const Figures& f) {
  return fmt::format(
      "schedules {}, events {}, elections {}, records {}, commits {}, records read {}, crashes {}, truncations {}, "
      "catch-ups {}, refusals by full disks {}, lost disks {}, damaged disks {}, lost pages {}, torn pages {}, lost names "
      "{}, partitions {}, membership changes {} (done {}, changer died {})",
      f.schedules, f.events, f.elections, f.records, f.commits, f.records_read, f.crashes, f.truncations, f.catch_ups,
      f.full_disks, f.lost_disks, f.damaged, f.lost_pages, f.torn_pages, f.lost_names, f.partitions, f.changes_started,
      f.changes_done, f.changers_died);
}

}  // namespace helium::sim
