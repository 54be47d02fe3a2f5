// Crash-safe publishing of small files: write a new file, sync it, rename it into place, sync the folder.
//
// After write_durable returns, the file has the new content after any crash; before, the old one.
// A failed fsync ends the process: what the kernel still holds is unknowable (CHECK). A full disk is an
// ordinary error (kNoSpace), and the old file stays. Functions are safe from any thread on different paths.

#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "io/fd.h"

namespace helium {

Status write_durable(const std::filesystem::path& path, ByteView content);
// kNotFound when it does not exist.
Result<Bytes> read_file(const std::filesystem::path& path);
Result<std::string> read_text_file(const std::filesystem::path& path);

Result<Fd> open_file(const std::filesystem::path& path, int flags, int mode = 0644);
// All bytes at that place, or an error (kTruncated past the end of the file).
Status pread_exact(const Fd& file, MutableByteView bytes, uint64_t offset);
Status pwrite_all(const Fd& file, ByteView bytes, uint64_t offset);
// Returns only on success: a failed sync ends the process.
void fdatasync_or_die(const Fd& file, std::string_view what);
void fsync_or_die(const Fd& file, std::string_view what);
// Makes entries of a folder durable.
Status sync_folder(const std::filesystem::path& folder);
// Creates folders, durably; it is fine if they exist.
Status make_folders(const std::filesystem::path& folder);

}  // namespace helium
