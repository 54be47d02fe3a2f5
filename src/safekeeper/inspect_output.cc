// Reports of inspect.h as text and as JSON.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "pg/constants.h"
#include "safekeeper/inspect.h"

namespace helium::safekeeper {
namespace {

using nlohmann::json;

std::string lsn_or_dash(Lsn lsn) { return lsn.is_valid() ? to_string(lsn) : "-"; }

std::string member_list(const std::vector<wire::Member>& members) {
  std::string text;
  for (const wire::Member& member : members) {
    text += fmt::format("{}{} ({}:{}, http {})", text.empty() ? "" : ", ", member.id, member.host, member.pg_port,
                        member.http_port);
  }
  return text.empty() ? "-" : text;
}

void field(std::string& out, std::string_view name, const std::string& value, std::string_view meaning) {
  std::string line = fmt::format("  {:<22} {:<20}  {}", name, value, meaning);
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

std::string control_text(const ControlFile& control) {
  const AcceptorState& state = control.acceptor;
  std::string out;
  field(out, "safekeeper_id", std::to_string(control.safekeeper_id), "whose state it is: another safekeeper refuses it");
  field(out, "pg_version", std::to_string(control.pg_version), "");
  field(out, "system_id", std::to_string(control.system_id), "of the PostgreSQL cluster, as in WAL's page headers");
  field(out, "generation", std::to_string(state.membership.generation), "of the membership; lower ones are refused");
  field(out, "members", member_list(state.membership.members), "a majority of them makes a commit");
  if (state.membership.is_joint()) {
    field(out, "new_members", member_list(state.membership.new_members),
          "a change is under way: a majority of these is needed as well");
  }
  if (!state.membership.previous.empty()) {
    field(out, "previous", member_list(state.membership.previous), "the members before the last change");
  }
  field(out, "promised_generation", std::to_string(state.promised_generation), "changes of a lower one are refused");
  if (state.filling) field(out, "filling", "yes", "a newcomer without its WAL yet: neither votes nor counts");
  field(out, "term", std::to_string(state.term), "highest term promised; proposers of lower ones are refused");
  field(out, "voted_for", to_string(state.voted_for), "the proposer that this term was promised to");
  field(out, "history", to_string(state.history), "which term wrote from where on");
  field(out, "start_lsn", to_string(state.start_lsn), "the timeline's first position");
  field(out, "commit_lsn", to_string(state.commit_lsn), "known to be on a majority when this was written");
  field(out, "flushed_lsn", to_string(control.flushed_lsn), "WAL up to here was synced when this was written");
  field(out, "verify_lsn", to_string(control.verify_lsn), "a record end: recovery reads from here on");
  field(out, "local_start_lsn", to_string(control.local_start_lsn), "WAL before it is not on this disk");
  field(out, "backup_lsn", lsn_or_dash(control.backup_lsn), "WAL up to here is in the object store");
  field(out, "remote_consistent_lsn", lsn_or_dash(control.remote_consistent_lsn),
        "the pageserver needs no WAL before it");
  if (control.evicted) field(out, "evicted", "yes", "no WAL is on this disk: all of it is in the object store");
  if (!control.partial_object.empty()) {
    field(out, "partial_object", control.partial_object, "the unfinished segment's name in the object store");
  }
  field(out, "clean_close", control.clean_close ? "yes" : "no",
        control.clean_close ? "flushed_lsn is the end of all WAL" : "the end of WAL is found by reading records");
  return out;
}

std::string segment_text(const SegmentReport& segment) {
  std::string out = fmt::format("{}  {} bytes, crc32c {:08x}\n  page header: {}\n", segment.name, segment.size,
                                segment.crc32c, segment.header);
  if (segment.records > 0) {
    out += fmt::format("  records: {}, the first at {}, the last at {}\n", segment.records,
                       to_string(segment.first_record), to_string(segment.last_record));
  }
  return out;
}

json to_json(const std::vector<wire::Member>& members) {
  json list = json::array();
  for (const wire::Member& member : members) {
    list.push_back({{"id", member.id}, {"host", member.host}, {"pg_port", member.pg_port}, {"http_port", member.http_port}});
  }
  return list;
}

json to_json(const ControlFile& control) {
  const AcceptorState& state = control.acceptor;
  json history = json::array();
  for (const TermSwitch& entry : state.history) history.push_back({{"term", entry.term}, {"lsn", to_string(entry.lsn)}});
  return {{"safekeeper_id", control.safekeeper_id},
          {"pg_version", control.pg_version},
          {"system_id", std::to_string(control.system_id)},
          {"generation", state.membership.generation},
          {"members", to_json(state.membership.members)},
          {"new_members", to_json(state.membership.new_members)},
          {"previous", to_json(state.membership.previous)},
          {"promised_generation", state.promised_generation},
          {"changer", to_string(state.changer)},
          {"filling", state.filling},
          {"term", state.term},
          {"voted_for", to_string(state.voted_for)},
          {"history", history},
          {"start_lsn", to_string(state.start_lsn)},
          {"commit_lsn", to_string(state.commit_lsn)},
          {"flushed_lsn", to_string(control.flushed_lsn)},
          {"verify_lsn", to_string(control.verify_lsn)},
          {"local_start_lsn", to_string(control.local_start_lsn)},
          {"backup_lsn", to_string(control.backup_lsn)},
          {"remote_consistent_lsn", to_string(control.remote_consistent_lsn)},
          {"evicted", control.evicted},
          {"partial_object", control.partial_object},
          {"clean_close", control.clean_close}};
}

std::string state_of(const TimelineReport& report) {
  if (!report.control) return "unreadable";
  if (report.control->evicted) return "evicted";
  return report.wal.damage ? "damaged" : "good";
}

json verdict_json(const TimelineReport& report) {
  json verdict{{"tenant_id", to_string(report.id.tenant)},
               {"timeline_id", to_string(report.id.timeline)},
               {"state", state_of(report)},
               {"segments", report.segments.size()},
               {"records", report.wal.records},
               {"first_lsn", to_string(report.wal.first)},
               {"end_lsn", to_string(report.wal.end)}};
  if (!report.control) verdict["reason"] = report.refused;
  if (const auto& damage = report.wal.damage) {
    verdict["damage"] = {{"lsn", to_string(damage->lsn)},
                         {"segment", pg::wal_segment_name(1, pg::wal_segment_number(damage->lsn))},
                         {"offset", pg::wal_segment_offset(damage->lsn)},
                         {"what", damage->what}};
  }
  return verdict;
}

}  // namespace

std::string to_verdict(const TimelineReport& report) {
  const std::string name = to_string(report.id);
  if (!report.control) return fmt::format("{}: UNREADABLE: {}\n", name, report.refused);
  if (report.control->evicted) return fmt::format("{}: evicted, no WAL on this disk\n", name);
  if (const auto& damage = report.wal.damage) {
    return fmt::format("{}: BAD at {}, {}: {}; {} good records from {} on before it\n", name, to_string(damage->lsn),
                       wal_place_name(damage->lsn), damage->what, report.wal.records, to_string(report.wal.first));
  }
  return fmt::format("{}: good, {} records from {} to {} in {} segment{}\n", name, report.wal.records,
                     to_string(report.wal.first), to_string(report.wal.end), report.segments.size(),
                     report.segments.size() == 1 ? "" : "s");
}

std::string to_text(const TimelineReport& report) {
  std::string out = fmt::format("timeline {} in '{}'\n\n", to_string(report.id), report.folder.string());
  out += fmt::format("{}  {} bytes, format version {}, checksum {}\n", kControlFileName, report.control_size,
                     report.control_version, report.control ? "right" : "or content wrong");
  out += report.control ? control_text(*report.control) : fmt::format("  {}\n", report.refused);
  for (const SegmentReport& segment : report.segments) out += "\n" + segment_text(segment);
  if (report.segments.empty()) out += "\nno WAL segments\n";
  for (const std::string& name : report.other_files) out += fmt::format("\n{}  not a segment\n", name);
  return out + "\n" + to_verdict(report);
}

std::string to_json(const TimelineReport& report) {
  json dump = verdict_json(report);
  dump["folder"] = report.folder.string();
  dump["control_file"] = {{"size", report.control_size}, {"format_version", report.control_version}};
  if (report.control) dump["control_file"].update(to_json(*report.control));
  dump["segments"] = json::array();
  for (const SegmentReport& segment : report.segments) {
    dump["segments"].push_back({{"name", segment.name},
                                {"size", segment.size},
                                {"crc32c", fmt::format("{:08x}", segment.crc32c)},
                                {"page_header", segment.header},
                                {"records", segment.records},
                                {"first_record", to_string(segment.first_record)},
                                {"last_record", to_string(segment.last_record)}});
  }
  dump["other_files"] = report.other_files;
  return dump.dump(2) + "\n";
}

std::string verdicts_json(const std::vector<TimelineReport>& reports) {
  json all = json::array();
  for (const TimelineReport& report : reports) all.push_back(verdict_json(report));
  return all.dump(2) + "\n";
}

}  // namespace helium::safekeeper
