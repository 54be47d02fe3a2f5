"""Redo against a stock PostgreSQL, no Helium around it: its WAL with check images, and the files that it left.

A wider workload than an endpoint's tests have (see tests/redo_oracle), and a judge that masks less than PostgreSQL's
own consistency check does.
"""

import subprocess

import pytest

from harness import BIN, ROOT


@pytest.mark.parametrize("options", [["--full-page-writes", "off"], ["--full-page-writes", "on", "--checksums"],
                                     ["--indexes", "--transactions", "50"]],
                         ids=["no full pages", "full pages and checksums", "every index type"])
def test_redo_of_a_stock_cluster_shows_no_difference(options):
    result = subprocess.run(["/usr/bin/python3", ROOT / "tests" / "redo_oracle" / "run.py", "--oracle", BIN / "redo_oracle",
                             *options], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
