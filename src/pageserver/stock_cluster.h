// For tests: a stock PostgreSQL cluster that starts from a given data directory, as an ordinary user, on a free port.
// Everything it prints goes to its log; a failed command fails the test with the log's end.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/net.h"

namespace helium::pageserver {

class StockCluster {
 public:
  static constexpr const char* kBinDir = "/usr/lib/postgresql/15/bin";
  static bool is_available() { return access((std::string(kBinDir) + "/initdb").c_str(), X_OK) == 0; }

  // Copies `data_dir`; `settings` are lines of postgresql.conf.
  StockCluster(const std::filesystem::path& data_dir, const std::string& settings) {
    char folder[] = "/tmp/helium-stock-XXXXXX";
    if (!mkdtemp(folder)) ADD_FAILURE() << "mkdtemp";
    folder_ = folder;
    auto listener = tcp_listen({"127.0.0.1", 0});
    port_ = local_port(*listener);
    listener->reset();
    std::filesystem::copy(data_dir, folder_ / "data", std::filesystem::copy_options::recursive);
    write(folder_ / "data" / "postgresql.auto.conf",
          "listen_addresses='127.0.0.1'\nunix_socket_directories=''\nport=" + std::to_string(port_) +
              "\nfsync=off\nshared_buffers=32MB\nwal_keep_size=4GB\nmax_wal_size=8GB\nwal_recycle=off\nlock_timeout=10s\n"
              "checkpoint_timeout=1h\nlogging_collector=off\n" + settings);
    shell("chown -R postgres " + folder_.string() + " 2>/dev/null; chmod 700 " + (folder_ / "data").string(), false);
  }
  ~StockCluster() {
    if (running_) stop("immediate");
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void start() {
    pg_shell(std::string(kBinDir) + "/pg_ctl -w -t 60 -D " + data_dir().string() + " -l " +
             (folder_ / "log").string() + " start");
    running_ = true;
  }
  void stop(const std::string& mode = "fast") {
    running_ = false;
    pg_shell(std::string(kBinDir) + "/pg_ctl -w -t 60 -m " + mode + " -D " + data_dir().string() + " stop");
  }

  // Rows as lines, columns separated by '|'.
  std::string sql(const std::string& text, const std::string& database = "postgres") {
    const std::filesystem::path file = folder_ / "sql";
    write(file, text);
    return shell(std::string("psql -X -q -A -t -v ON_ERROR_STOP=1 ") + connection() + " -d " + database + " -f " +
                 file.string());
  }
  std::string pgbench(const std::string& arguments) {
    return shell(std::string(kBinDir) + "/pgbench " + connection() + " " + arguments + " postgres");
  }
  std::filesystem::path data_dir() const { return folder_ / "data"; }
  std::string connection() const { return "-h 127.0.0.1 -p " + std::to_string(port_) + " -U cloud_admin"; }

  std::string shell(const std::string& command, bool must_succeed = true) {
    FILE* pipe = popen(("{ " + command + "\n} 2>&1").c_str(), "r");
    std::string output;
    char buffer[4096];
    while (const size_t got = fread(buffer, 1, sizeof(buffer), pipe)) output.append(buffer, got);
    if (const int status = pclose(pipe); status != 0 && must_succeed)
      ADD_FAILURE() << command << "\n" << output << "\n" << log_end();
    return output;
  }

 private:
  void pg_shell(const std::string& command) {
    // The server inherits its output: not our pipe, or we would wait for its end.
    const std::string quiet = " </dev/null >/dev/null 2>&1";
    shell((geteuid() == 0 ? "runuser -u postgres -- " + command : command) + quiet);
  }
  std::string log_end() { return shell("tail -20 " + (folder_ / "log").string(), false); }
  static void write(const std::filesystem::path& path, const std::string& text) {
    FILE* file = fopen(path.c_str(), "w");
    fwrite(text.data(), 1, text.size(), file);
    fclose(file);
  }

  std::filesystem::path folder_;
  uint16_t port_ = 0;
  bool running_ = false;
};

}  // namespace helium::pageserver
