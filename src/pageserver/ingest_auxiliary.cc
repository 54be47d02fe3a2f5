// Auxiliary files: what logical messages of the compute's carry (pg/auxiliary_file.h), a key for each file.
//
// Any SQL user can write a logical message: one that is not the compute's changes nothing and is counted. A branch starts
// without its parent's slots and what belongs to them: what was noted up to the branch point does not count there.

#include "pageserver/ingest.h"
#include "redo/side_effects.h"

namespace helium::pageserver {

using layer::Key;

namespace {
constexpr uint8_t kKeySlots = 4;  // names whose hashes collide are told apart by the key's slot
}  // namespace

Status Ingest::on_logical_message(const Context& context) {
  HELIUM_ASSIGN(const redo::LogicalMessage record, redo::parse_logical_message(context.record));
  if (record.prefix != pg::kAuxiliaryPrefix) return {};
  pg::AuxiliaryMessage message;
  pg::AuxiliaryVerdict verdict = pg::AuxiliaryVerdict::kForged;
  // Whoever runs SQL is connected to a database.
  if (record.dbnode == 0 && !record.transactional)
    verdict = pg::decode_auxiliary_message(record.payload, auxiliary_key_, message);
  if (verdict != pg::AuxiliaryVerdict::kGood) {
    refused_message_ = verdict;
    return {};
  }
  return put_auxiliary(context, message);
}

Status Ingest::put_auxiliary(const Context& context, const pg::AuxiliaryMessage& message) {
  const uint64_t hash = load<uint64_t>(Sha256().add(as_bytes(message.path)).finish().data());
  std::optional<Key> present, unused;
  for (uint8_t slot = 0; slot < kKeySlots && !present; ++slot) {
    const Key key = Key::aux_file(hash, slot);
    HELIUM_ASSIGN(const auto stored, store_->get_latest(key, Lsn::max()));
    if (!stored || stored->kind != layer::ValueKind::kData) {
      if (!unused) unused = key;
      continue;
    }
    HELIUM_ASSIGN(const AuxFileValue value, decode_aux_file(stored->bytes.view()));
    if (value.path == message.path) present = key;
  }
  if (message.removed) {
    if (present) out_.put_tombstone(*present);
    return {};
  }
  if (!present) present = unused;
  if (!present) {
    refused_message_ = pg::AuxiliaryVerdict::kUnknownName;  // somebody looks for names that collide
    return {};
  }
  out_.put_data(*present, encode(AuxFileValue{context.view.end_lsn, std::string(message.path),
                                              Bytes(message.content.begin(), message.content.end())}));
  return {};
}

}  // namespace helium::pageserver
