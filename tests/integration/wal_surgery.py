"""A WAL record changed in place on safekeepers' disks, its CRC made right again: damage that no checksum shows."""

import re
import subprocess

from harness import PG_BIN, parse_lsn

SEGMENT = 16 << 20
PAGE = 8192
HEADER = 24  # XLogRecord; the CRC is its last field


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _positions(start, length):
    """Offsets in the segment file of a record's bytes: page headers lie between them."""
    at = start % SEGMENT
    for _ in range(length):
        if at % PAGE == 0:
            at += 24 if at else 40
        assert at < SEGMENT, "the record goes on in the next segment"
        yield at
        at += 1


def _segment(lsn):
    return f"00000001{lsn >> 32:08X}{(lsn & 0xFFFFFFFF) // SEGMENT:08X}"


def change_record(cluster, after_lsn, marker, change):
    """Finds the first record behind `after_lsn` that has `marker` in it; change(record), a bytearray, edits it. On
    every safekeeper. Returns the LSN where the record ends, as a number."""
    folders = [cluster.repo / "safekeepers" / f"sk{number}" / cluster.tenant_id / cluster.main_id for number in (1, 2, 3)]
    segment = _segment(parse_lsn(after_lsn))
    dump = subprocess.run([PG_BIN / "pg_waldump", "-s", after_lsn, folders[0] / segment], capture_output=True, text=True)
    for total, lsn in re.findall(r"len \(rec/tot\): +\d+/ *(\d+),.* lsn: ([0-9A-F]+/[0-9A-F]+)", dump.stdout):
        start = parse_lsn(lsn)
        segment = _segment(start)
        positions = list(_positions(start, int(total)))
        data = (folders[0] / segment).read_bytes()
        record = bytearray(data[at] for at in positions)
        if marker not in record:
            continue
        change(record)
        record[20:24] = crc32c(record[HEADER:] + record[:20]).to_bytes(4, "little")
        for folder in folders:
            with open(folder / segment, "r+b") as file:
                for at, byte in zip(positions, record):
                    file.seek(at)
                    file.write(bytes([byte]))
        return start - start % SEGMENT + (positions[-1] + 8) // 8 * 8
    raise AssertionError(f"no record behind {after_lsn} has {marker!r} in it: {dump.stdout[-1000:]}{dump.stderr}")
