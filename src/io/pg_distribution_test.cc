// Goal: versions are found where the header says, and who asks for one that is not there learns which are.

#include "io/pg_distribution.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace helium {
namespace {

namespace fs = std::filesystem;

class PgDistribution : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/helium-distribution-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void install(const std::string& name, fs::perms mode = fs::perms::owner_all) {
    fs::create_directories(folder_ / name / "bin");
    std::ofstream(folder_ / name / "bin" / "postgres") << "#!";
    fs::permissions(folder_ / name / "bin" / "postgres", mode);
  }
  std::string refusal(int version) {
    const auto found = find_pg_bin_dir(folder_, version);
    EXPECT_FALSE(found);
    return found ? "" : found.error().message;
  }

  fs::path folder_;
};

TEST_F(PgDistribution, FindsFoldersAndLinksWithAndWithoutTheLetter) {
  install("v14");
  install("16");
  install("elsewhere");
  fs::create_directory_symlink(folder_ / "elsewhere", folder_ / "v17");
  EXPECT_EQ(installed_pg_versions(folder_), (std::vector<int>{14, 16, 17}));
  EXPECT_EQ(*find_pg_bin_dir(folder_, 14), folder_ / "v14" / "bin");
  EXPECT_EQ(*find_pg_bin_dir(folder_, 16), folder_ / "16" / "bin");
  EXPECT_EQ(*find_pg_bin_dir(folder_, 17), folder_ / "v17" / "bin");
  install("v16");
  EXPECT_EQ(*find_pg_bin_dir(folder_, 16), folder_ / "v16" / "bin");
}

TEST_F(PgDistribution, AMissingVersionNamesThoseThatAreThere) {
  install("v14");
  install("v18");
  const std::string message = refusal(17);
  EXPECT_NE(message.find("there is no PostgreSQL 17 in '" + folder_.string() + "' (found: 14, 18)"), std::string::npos) << message;
  EXPECT_EQ(find_pg_bin_dir(folder_, 17).error().code, ErrorCode::kNotFound);
  fs::remove_all(folder_ / "v14");
  fs::remove_all(folder_ / "v18");
  EXPECT_NE(refusal(17).find("(found: none)"), std::string::npos);
}

TEST_F(PgDistribution, AFileThatCannotRunIsNoServer) {
  install("v15", fs::perms::owner_read);
  EXPECT_TRUE(installed_pg_versions(folder_).empty());
}

TEST_F(PgDistribution, VersionsThatWeDoNotRunAreRefusedEvenIfTheyAreThere) {
  install("v13");
  install("v19");
  EXPECT_TRUE(installed_pg_versions(folder_).empty());
  for (const int version : {-1, 0, 9, 13, 19}) {
    EXPECT_NE(refusal(version).find("is not supported: 14 to 18 are"), std::string::npos) << version;
    EXPECT_EQ(find_pg_bin_dir(folder_, version).error().code, ErrorCode::kInvalid);
  }
}

}  // namespace
}  // namespace helium
