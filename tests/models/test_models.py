"""Goal: the protocols as docs/protocols/wal_commit.md and membership.md tell them have no schedule that loses or changes
what was committed, nor two quorums that do not meet, within bounds that can be searched completely; and the search would
notice. Method: Spin on the models beside this file, as they are and with one rule broken at a time."""

import pathlib
import re
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).resolve().parent
MEMORY_MB = 1500


def search(folder, model, *defines):
    """(errors, states) of a search over all states of the model with these settings."""
    flags = [f"-D{define}" for define in defines]
    subprocess.run(["spin", *flags, "-a", FOLDER / model], cwd=folder, check=True, capture_output=True)
    # Collapsed states; no partial order reduction, which there is nothing for with one process.
    subprocess.run(["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DNOREDUCE", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"],
                   cwd=folder, check=True)
    output = subprocess.run(["./pan", "-E", "-m100000"], cwd=folder, capture_output=True, text=True).stdout
    assert "max search depth too small" not in output and "out of memory" not in output, output
    errors = int(re.search(r"errors: (\d+)", output).group(1))
    states = int(re.search(r"(\d+) states, stored", output).group(1))
    print(f"{model} {' '.join(defines)}: {states} states, {errors} errors")
    return errors, states


def test_no_schedule_loses_or_changes_what_was_committed(tmp_path):
    errors, states = search(tmp_path, "wal_commit.pml", "TERMS=2", "POWER_CUTS=1")
    assert errors == 0
    assert states > 1_000_000  # all of them: a model that blocks early has few


@pytest.mark.parametrize("bug, terms, power_cuts", [
    ("ADOPTED_TERM", 3, 1),
    ("HISTORY_FIRST", 2, 1),
    ("VOTE_BEFORE_FLUSH", 2, 1),
    ("COMMIT_OF_ANY_TERM", 2, 1),
    ("VOTE_NOT_SAVED", 2, 1),
    ("ACK_BEFORE_SYNC", 2, 1),
])
def test_a_broken_rule_is_found(tmp_path, bug, terms, power_cuts):
    errors, _ = search(tmp_path, "wal_commit.pml", f"BUG_{bug}", f"TERMS={terms}", f"POWER_CUTS={power_cuts}")
    assert errors == 1


def test_no_two_generations_have_quorums_at_once(tmp_path):
    errors, states = search(tmp_path, "membership.pml", "GENERATIONS=4")
    assert errors == 0
    assert states > 100_000


def test_a_change_of_members_loses_nothing(tmp_path):
    errors, states = search(tmp_path, "membership_wal.pml", "PROPOSERS=1")
    assert errors == 0
    assert states > 500_000


@pytest.mark.parametrize("model, bug, bounds", [
    ("membership.pml", "ONE_HALF", "GENERATIONS=4"),
    ("membership.pml", "CHANGER_SKIPS_PREPARE", "GENERATIONS=4"),
    ("membership.pml", "BUILT_ON_A_MINORITY", "GENERATIONS=4"),
    ("membership_wal.pml", "NEWCOMER_COUNTS_EMPTY", "PROPOSERS=1"),
])
def test_a_broken_rule_of_membership_is_found(tmp_path, model, bug, bounds):
    errors, _ = search(tmp_path, model, f"BUG_{bug}", bounds)
    assert errors == 1
