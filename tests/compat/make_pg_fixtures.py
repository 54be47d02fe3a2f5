#!/usr/bin/python3
"""Cuts test fixtures out of the data directory of a stopped, stock PostgreSQL cluster.

  make_pg_fixtures.py VERSION DATADIR [PG_WALDUMP]

Writes into tests/compat/pgVERSION/:
  wal.bin         a few whole WAL pages with as many kinds of records as such a window has
  wal.txt         their records as PostgreSQL's own pg_waldump sees them, if it is given:
                  start, length, xid, previous, resource manager, type, blocks "id:spc/db/rel[_fork]:blkno"
  pg_control.bin  the first 512 bytes of global/pg_control
"""

import glob
import os
import re
import struct
import subprocess
import sys

PAGE = 8192
SEGMENT = 16 * 1024 * 1024
PAGES = 3


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def show(value):
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def page_records(wal, start):
    """Starts of the records that begin on each page: only what a window needs to be chosen by (types are guessed from
    the two bytes of the header, so this is no parser)."""
    kinds = {}
    position = start
    while position < start + len(wal):
        if position % PAGE == 0:
            position += 40 if position % SEGMENT == 0 else 24
        at = position - start
        total, = struct.unpack_from("<I", wal, at)
        if total < 24:
            break
        if position % PAGE <= PAGE - 24:
            info, rmgr = struct.unpack_from("<BB", wal, at + 16)
            kinds.setdefault(position // PAGE, set()).add((rmgr, info & 0xF0))
            if (rmgr, info & 0xF0) == (0, 0x40):  # a switch: on to the next segment
                position = (position // SEGMENT + 1) * SEGMENT
                continue
        left = total
        while left > PAGE - position % PAGE:
            left -= PAGE - position % PAGE
            position = (position // PAGE + 1) * PAGE
            position += 40 if position % SEGMENT == 0 else 24
        position = (position + left + 7) // 8 * 8
    return kinds


def main():
    version, datadir = sys.argv[1], sys.argv[2]
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pg" + version)
    os.makedirs(target, exist_ok=True)
    segments = sorted(glob.glob(datadir + "/pg_wal/0000*"))
    wal = b"".join(open(name, "rb").read() for name in segments)
    start, = struct.unpack_from("<Q", wal, 8)

    kinds = page_records(wal, start)
    best = max((p for p in kinds if all(p + i in kinds for i in range(PAGES))),
               key=lambda p: len(set.union(*(kinds[p + i] for i in range(PAGES)))))
    window = wal[best * PAGE - start:][:PAGES * PAGE]
    open(target + "/wal.bin", "wb").write(window)
    open(target + "/pg_control.bin", "wb").write(open(datadir + "/global/pg_control", "rb").read(512))
    print(version, show(best * PAGE), len(set.union(*(kinds[best + i] for i in range(PAGES)))), "kinds of records")
    if len(sys.argv) < 4:
        return

    dump = subprocess.run([sys.argv[3], "-p", datadir + "/pg_wal", "-s", show(best * PAGE),
                           "-e", show((best + PAGES) * PAGE)], capture_output=True, text=True)
    forks = {None: "", "main": "", "fsm": "_fsm", "vm": "_vm", "init": "_init"}
    with open(target + "/wal.txt", "w") as out:
        for line in dump.stdout.splitlines():
            fields = re.match(r"rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*(\d+), lsn: (\S+), "
                              r"prev (\S+), desc: (\S+)", line)
            blocks = [f"{b[1]}:{b[2]}{forks[b[3]]}:{b[4]}" for b in
                      re.finditer(r"blkref #(\d+): rel (\d+/\d+/\d+)(?: fork (\w+))? blk (\d+)", line)]
            out.write(" ".join([show(lsn(fields[4])), fields[2], fields[3], show(lsn(fields[5])), fields[1].lower(),
                                fields[6]] + blocks) + "\n")


if __name__ == "__main__":
    main()
