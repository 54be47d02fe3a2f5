#include "wire/pgwire.h"

#include <gtest/gtest.h>

namespace helium::wire {
namespace {

TEST(PgWire, StartupPacketsComeBack) {
  const Bytes packet = encode_startup_packet({{"user", "me"}, {"options", "-c a=b"}});
  const auto parsed = parse_startup_packet(ByteView(packet).subspan(4));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->parameters.at("user"), "me");
  EXPECT_EQ(parsed->parameters.at("options"), "-c a=b");
  for (size_t size = 0; size + 4 < packet.size(); ++size) {
    EXPECT_FALSE(parse_startup_packet(ByteView(packet).subspan(4, size)).has_value()) << size;
  }
  const Bytes ssl{std::byte{4}, std::byte{210}, std::byte{22}, std::byte{47}};
  EXPECT_EQ(parse_startup_packet(ssl)->kind, StartupKind::kSslRequest);
}

TEST(PgWire, OptionsAreReadAsPostgresReadsThem) {
  const auto options = parse_options("-c tenant_id=aa -ctimeline_id=bb --x=y -c with\\ space=1\\\\2 -d 3 stray -c");
  EXPECT_EQ(options, (std::map<std::string, std::string>{
                         {"tenant_id", "aa"}, {"timeline_id", "bb"}, {"x", "y"}, {"with space", "1\\2"}}));
}

TEST(PgWire, MessagesAreFramedBigEndian) {
  MessageWriter out;
  out.ready_for_query();
  ASSERT_EQ(out.view().size(), 6u);
  const auto header = parse_message_header(out.view(), 100);
  EXPECT_EQ(header->type, 'Z');
  EXPECT_EQ(header->payload_size, 1u);
  EXPECT_FALSE(parse_message_header(encode_message_header('d', 101), 100).has_value());
  const auto error = MessageWriter().error_response("ERROR", "42704", "no such thing").take();
  EXPECT_EQ(parse_error_response(ByteView(error).subspan(5))->message, "no such thing");
  EXPECT_EQ(parse_error_response(ByteView(error).subspan(5))->sqlstate, "42704");
}

TEST(PgWire, CommandsOfTheWalServiceAndOfStockTools) {
  EXPECT_TRUE(std::holds_alternative<IdentifySystem>(*parse_wal_command("IDENTIFY_SYSTEM")));
  EXPECT_TRUE(std::holds_alternative<StartWalPush>(*parse_wal_command("start_wal_push;")));
  EXPECT_EQ(std::get<Show>(*parse_wal_command("SHOW wal_segment_size")).name, "wal_segment_size");
  EXPECT_EQ(std::get<TimelineHistoryCommand>(*parse_wal_command("TIMELINE_HISTORY 3")).pg_timeline, 3u);
  const auto plain = std::get<StartReplication>(*parse_wal_command("START_REPLICATION 0/1000000 TIMELINE 1"));
  EXPECT_EQ(plain.start, Lsn(0x1000000));
  const auto slot =
      std::get<StartReplication>(*parse_wal_command("START_REPLICATION SLOT \"my slot\" PHYSICAL 1/A TIMELINE 7"));
  EXPECT_EQ(slot.slot, "my slot");
  EXPECT_EQ(slot.pg_timeline, 7u);
  EXPECT_EQ(std::get<StartWalFeed>(*parse_wal_command("START_WAL_FEED 0/28")).start, Lsn(0x28));
  const auto read = std::get<ReadWal>(*parse_wal_command("READ_WAL 5 0/28 0/30"));
  EXPECT_EQ(read.term, 5u);
  EXPECT_EQ(read.end, Lsn(0x30));
  for (const char* sql : {"", "SELECT 1", "SELEC"}) {
    EXPECT_TRUE(std::holds_alternative<NoCommand>(*parse_wal_command(sql))) << sql;
  }
  EXPECT_TRUE(std::holds_alternative<BaseBackup>(*parse_wal_command("BASE_BACKUP ( LABEL 'x',  PROGRESS)")));
  for (const char* bad : {"START_REPLICATION", "START_REPLICATION 0/0 TIMELINE 0", "TIMELINE_HISTORY 0", "START_REPLICATION SLOT a LOGICAL 0/0", "READ_WAL 5 0/1",
                          "START_WAL_FEED 0/28 x", "TIMELINE_HISTORY x"}) {
    EXPECT_FALSE(parse_wal_command(bad).has_value()) << bad;
  }
}

// As pg_receivewal and walreceivers of 14 to 18 write them.
TEST(PgWire, CommandsForSlots) {
  const auto create = [](std::string_view text) { return std::get<CreateReplicationSlot>(*parse_wal_command(text)); };
  const auto old_style = create("CREATE_REPLICATION_SLOT \"pg_walreceiver_7\" TEMPORARY PHYSICAL RESERVE_WAL");
  EXPECT_EQ(old_style.slot, "pg_walreceiver_7");
  EXPECT_TRUE(old_style.temporary && old_style.reserve_wal);
  const auto new_style = create("CREATE_REPLICATION_SLOT \"s\" PHYSICAL (RESERVE_WAL)");
  EXPECT_FALSE(new_style.temporary);
  EXPECT_TRUE(new_style.reserve_wal);
  EXPECT_FALSE(create("CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL 'false')").reserve_wal);
  EXPECT_EQ(std::get<ReadReplicationSlot>(*parse_wal_command("READ_REPLICATION_SLOT \"s\"")).slot, "s");
  EXPECT_EQ(std::get<DropReplicationSlot>(*parse_wal_command("DROP_REPLICATION_SLOT \"s\" WAIT;")).slot, "s");
  for (const char* bad : {"CREATE_REPLICATION_SLOT", "CREATE_REPLICATION_SLOT s", "DROP_REPLICATION_SLOT",
                          "CREATE_REPLICATION_SLOT s LOGICAL pgoutput", "CREATE_REPLICATION_SLOT s PHYSICAL (X)",
                          "READ_REPLICATION_SLOT", "DROP_REPLICATION_SLOT s now"}) {
    EXPECT_FALSE(parse_wal_command(bad).has_value()) << bad;
  }
}

TEST(PgWire, FeedMessagesComeBack) {
  const TermHistory history{{1, Lsn(8)}, {2, Lsn(16)}};
  EXPECT_EQ(std::get<TermHistory>(*parse_feed_message(encode_feed_history(history))), history);
  EXPECT_EQ(std::get<Keepalive>(*parse_feed_message(encode_keepalive({Lsn(77), true}, 5))).wal_end, Lsn(77));
  const auto header = encode_wal_data_header(Lsn(5), Lsn(9), 1);
  EXPECT_EQ(std::get<WalData>(*parse_feed_message(header)).wal_end, Lsn(9));
  const Bytes status = encode_standby_status({Lsn(3), Lsn(2), Lsn(1), true}, 5);
  EXPECT_EQ((*parse_standby_message(status))->flushed, Lsn(2));
  EXPECT_FALSE(parse_standby_message(ByteView(status).first(20)).has_value());
  // Hot standby feedback: time, then xmin and its epoch, then catalog_xmin and its epoch.
  Bytes feedback(1 + 8 + 4 * 4);
  feedback[0] = std::byte{'h'};
  EXPECT_EQ(*parse_standby_message(feedback), std::nullopt);
  feedback[0] = std::byte{'z'};
  EXPECT_FALSE(parse_standby_message(feedback).has_value());
  EXPECT_FALSE(parse_feed_message(ByteView(header).first(20)).has_value());
}

}  // namespace
}  // namespace helium::wire
