// layer_dump: says what is in a layer file or in a timeline's index.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "layer/layer_file.h"
#include "layer/timeline_index.h"

using namespace helium;
using namespace helium::layer;

namespace {

void print_range(const LayerRange& range) {
  fmt::print("kind           {}\nkeys           from {}\n               to   {} (exclusive)\n", to_string(range.kind),
             to_string(range.keys.start), to_string(range.keys.end));
  fmt::print("lsns           from {} to {} (exclusive)\n", to_string(range.lsns.start()), to_string(range.lsns.end()));
}

Status dump_index(ByteView bytes) {
  HELIUM_ASSIGN(const TimelineIndex index, decode_timeline_index(bytes));
  fmt::print("timeline {}\nstart_lsn {}\ndisk_consistent_lsn {}\n", to_string(index.timeline_id),
             to_string(index.start_lsn), to_string(index.disk_consistent_lsn));
  if (index.ancestor) fmt::print("ancestor {} at {}\n", to_string(index.ancestor->id), to_string(index.ancestor->lsn));
  fmt::print("sequence {}\nmetadata {} bytes\nlayers {}\n", index.sequence, index.metadata.size(), index.layers.size());
  for (const LayerDesc& layer : index.layers) {
    fmt::print("  {:5} {:>12} bytes  {}\n", to_string(layer.range.kind), layer.file_size, layer_name(layer.range));
  }
  return {};
}

struct Totals {
  uint64_t versions = 0;
  uint64_t bytes = 0;
  uint64_t references = 0;
};

Status dump_layer(const std::filesystem::path& path, ByteView bytes, bool entries) {
  HELIUM_ASSIGN(const LayerHeader header, decode_layer_header(bytes));
  print_range(header.range);
  fmt::print("file           {} bytes: {} data blocks, {} index pages in {} levels, {} filter pages\n", header.file_size,
             header.block_count, header.index_pages, header.index_levels, header.filter_pages);
  fmt::print("content        {} versions of {} keys\n", header.entry_count, header.key_count);
  if (path.filename() != layer_name(header.range)) fmt::print("its name would be {}\n", layer_name(header.range));

  // The handle goes by the layer's own name; a copy under another name is read through it all the same.
  class NamedDisk : public Disk {
   public:
    explicit NamedDisk(std::filesystem::path path) : path_(std::move(path)) {}
    Status read(const std::filesystem::path&, uint64_t offset, MutableByteView to) override {
      return real_disk()->read(path_, offset, to);
    }
    Result<std::unique_ptr<WritableFile>> create_file(const std::filesystem::path&) override { return refused(); }
    Status rename(const std::filesystem::path&, const std::filesystem::path&) override { return refused(); }
    Status remove_file(const std::filesystem::path&) override { return refused(); }
    Status make_folder(const std::filesystem::path&) override { return refused(); }
    Status sync_folder(const std::filesystem::path&) override { return refused(); }

   private:
    static std::unexpected<Error> refused() { return fail(ErrorCode::kInvalid, "layer_dump only reads"); }
    const std::filesystem::path path_;
  };
  const auto file = std::make_shared<LayerFile>(std::make_shared<NamedDisk>(path), std::make_shared<BlockCache>(64 << 20),
                                                path.parent_path(), LayerDesc{header.range, header.file_size});
  HELIUM_TRY(file->verify());
  std::map<ValueKind, Totals> totals;
  LayerCursor cursor(file);
  HELIUM_TRY(cursor.seek({Key(), Lsn()}));
  while (cursor.valid()) {
    const EntryView& entry = cursor.entry();
    Totals& total = totals[entry.kind];
    ++total.versions;
    (entry.reference ? total.references : total.bytes) += entry.reference ? 1 : entry.value_size;
    if (entries) {
      fmt::print("{:<44} {:>12} {:<9}{} {:>8} bytes{}\n", to_string(entry.position.key), to_string(entry.position.lsn),
                 to_string(entry.kind), entry.will_init ? " init" : "     ", entry.value_size,
                 entry.reference ? " (shared)" : "");
    }
    HELIUM_TRY(cursor.next());
  }
  for (const auto& [kind, total] : totals) {
    fmt::print("{:<14} {} versions, {} bytes, {} of them shared copies\n", to_string(kind), total.versions, total.bytes,
               total.references);
  }
  fmt::print("verified       every checksum, order and reference\n");
  return {};
}

Status dump(const std::filesystem::path& path, bool entries) {
  HELIUM_ASSIGN(const Bytes bytes, real_disk()->read_all(path));
  if (bytes.size() >= 4 && load<uint32_t>(bytes.data()) == kTimelineIndexMagic) return dump_index(bytes);
  return dump_layer(path, bytes, entries);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Lists what a layer file or a timeline's index holds, and checks it."};
  std::vector<std::string> paths;
  bool entries = false;
  app.add_option("file", paths, "layer files or index files")->required();
  app.add_flag("-e,--entries", entries, "list every version: key, LSN, kind, size");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const std::string& path : paths) {
    if (paths.size() > 1) fmt::print("{}:\n", path);
    if (const Status done = dump(path, entries); !done) {
      fmt::print(stderr, "layer_dump: {}: {}\n", path, done.error().message);
      return 1;
    }
  }
  return 0;
}
