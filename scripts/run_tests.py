"""Builds and runs all tests of the project, counts each case, prints one line per step.

The steps: unit tests in three builds (release, asan, tsan), every fuzzer for a bounded time, and the
integration tests (pytest) on the release build. Called by ./check, which installs what is missing.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
PYTEST_FOLDERS = [str(ROOT / "tests" / name) for name in ("integration", "elle", "models")]
UNIT_TIMEOUT_S = 600
FUZZ_SECONDS = 6
OUTPUT_LINES = 60

SANITIZER_ENV = {
    "asan": {
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    },
    "tsan": {"TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={ROOT}/scripts/tsan.supp"},
}

# Not worth ThreadSanitizer's time: tests in gRPC's threads, which it cannot see into (see tsan.supp); exhaustive
# searches in one thread, which would run for many minutes; whole stock clusters, which are other programs.
NOT_UNDER_TSAN = {
    "broker_test": "Broker.*",
    "layer_test": "StoreCrash.*:StoreRandom.*:*EveryFlippedBit*:LayerMap.*",
    "pageserver_test": "StockCluster*",
    "pg_test": "*Every*:*Stock*",
    "safekeeper_test": "MembershipChange.*:TimelineResidency.ACrashAtAnyStep*:TimelineResidency.AStoreThatFailsAtAnyStep*",
    "sim_test": "*PlantedBugs*:PowerCut*",
    "redo_test": "*Recorded*:*Oracle*",
    "vfs_test": "BlockState.*",
}


class Tally:
    """What passed and failed so far; failures are printed when they happen."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def add(self, name, ok, output=""):
        if ok:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED {name}")
        for line in output.rstrip().splitlines()[-OUTPUT_LINES:]:
            print(f"    {line}")
        sys.stdout.flush()


def step(title):
    """A context that prints what a step came to and how long it took."""

    class Step:
        def __init__(self):
            self.tally = Tally()

        def __enter__(self):
            self.begin = time.monotonic()
            print(f"== {title} ...", flush=True)
            return self.tally

        def __exit__(self, *_):
            seconds = time.monotonic() - self.begin
            print(f"== {title}: {self.tally.passed} passed, {self.tally.failed} failed, {seconds:.0f} s", flush=True)
            total.passed += self.tally.passed
            total.failed += self.tally.failed

    return Step()


total = Tally()


def build(preset, tally, *targets):
    result = subprocess.run([ROOT / "scripts" / "build", preset, *targets], capture_output=True, text=True)
    if result.returncode != 0:
        tally.add(f"build of preset {preset}", False, result.stdout + result.stderr)
    return result.returncode == 0


def build_dir(preset):
    return ROOT / ("build" if preset == "release" else f"build-{preset}")


def test_programs(preset):
    """Test programs that belong to a folder that still exists (an old build may hold more)."""
    programs = sorted((build_dir(preset) / "tests").glob("*_test"))
    return [program for program in programs if (ROOT / "src" / program.name.removesuffix("_test")).is_dir()]


def cases_in(program):
    listing = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True).stdout
    suite, cases = "", []
    for line in listing.splitlines():
        name = line.split("#")[0].rstrip()
        if line.startswith("  "):
            cases.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return cases


def command_of(preset, program):
    # ThreadSanitizer's memory layout and a kernel with many bits of address randomization do not agree.
    return ["setarch", "-R", str(program)] if preset == "tsan" else [str(program)]


def run_unit_program(preset, program, names):
    """Returns [(case, ok, output)]. A crash counts as one failure, named after the case that ran last."""
    gtest_filter = "*"
    if names and not any(name in program.name for name in names):
        gtest_filter = ":".join(f"*{name}*" for name in names)
    if preset == "tsan" and program.name in NOT_UNDER_TSAN:
        gtest_filter += f"-{NOT_UNDER_TSAN[program.name]}"
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        command = command_of(preset, program) + [f"--gtest_filter={gtest_filter}", f"--gtest_output=json:{report}"]
        env = os.environ | SANITIZER_ENV.get(preset, {})
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=folder,
                                    timeout=UNIT_TIMEOUT_S, text=True, errors="replace")
            output, status = result.stdout, result.returncode
        except subprocess.TimeoutExpired as expired:
            output, status = (expired.stdout or b"").decode(errors="replace"), f"no end after {UNIT_TIMEOUT_S} s"
        results = []
        if report.exists():
            for suite in json.loads(report.read_text())["testsuites"]:
                for case in suite["testsuite"]:
                    if case.get("result") == "SUPPRESSED" or case.get("status") == "NOTRUN":
                        continue
                    if case.get("result") == "SKIPPED":
                        continue
                    messages = "\n".join(failure["failure"] for failure in case.get("failures", []))
                    results.append((f"{case['classname']}.{case['name']}", not messages, messages))
        if status != 0 and all(ok for _, ok, _ in results):
            begun = [line for line in output.splitlines() if line.startswith("[ RUN      ]")]
            last = begun[-1].removeprefix("[ RUN      ] ") if begun else program.name
            results.append((f"{last} (status {status})", False, output))
        return results


def run_unit_tests(preset, names):
    with step(f"unit tests, {preset}") as tally:
        if not build(preset, tally):
            return
        programs = test_programs(preset)
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            runs = {pool.submit(run_unit_program, preset, program, names): program for program in programs}
            for run in concurrent.futures.as_completed(runs):
                for case, ok, output in run.result():
                    tally.add(f"{runs[run].name}: {case} [{preset}]", ok, output)


def run_fuzzer(program, seconds):
    with tempfile.TemporaryDirectory() as folder:
        corpus = ROOT / "tests" / "corpus" / program.name
        command = [str(program), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", folder]
        if corpus.is_dir():
            command.append(str(corpus))
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    errors="replace", timeout=seconds + 60, cwd=folder)
        except subprocess.TimeoutExpired:
            return False, "the fuzzer did not end"
        return result.returncode == 0, result.stdout


def run_fuzzers(names, seconds=FUZZ_SECONDS):
    with step(f"fuzzers, {seconds} s each") as tally:
        sources = sorted((ROOT / "src").glob("*/*_fuzz.cc"))
        sources = [source for source in sources if not names or any(name in source.stem for name in names)]
        if not sources or not build("asan", tally, *[source.stem for source in sources]):
            return
        programs = [build_dir("asan") / "fuzz" / source.stem for source in sources]
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            for program, (ok, output) in zip(programs, pool.map(run_fuzzer, programs, itertools.repeat(seconds))):
                tally.add(program.name, ok, output)


def run_integration_tests(names, quick):
    with step("integration tests") as tally, tempfile.TemporaryDirectory() as folder:
        if not build("release", tally):
            return
        report = pathlib.Path(folder) / "report.xml"
        # Tests mostly wait (for disks, for time to pass), so a worker more than there are cores.
        command = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
                   "-n", str(CORES + 1), *PYTEST_FOLDERS]
        if names:
            command += ["-k", " or ".join(names)]
        elif quick:
            command += ["-m", "quick"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
                                errors="replace")
        if not report.exists():
            tally.add("pytest", False, result.stdout)
            return
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            if case.find("skipped") is not None:
                print(f"   skipped {case.get('name')}: {case.find('skipped').get('message')}")
                continue
            problems = [*case.findall("failure"), *case.findall("error")]
            output = "\n".join(f"{problem.get('message', '')}\n{problem.text or ''}" for problem in problems)
            # What a test printed as HELIUM_NAME=value is what it is replayed with.
            printed = case.findtext("system-out") or ""
            output += "".join(f"\n{line}" for line in printed.splitlines() if line.startswith("HELIUM_"))
            tally.add(f"{case.get('classname')}::{case.get('name')}", not problems, output)


def run_simulation(hours):
    """New schedules of the WAL service's simulation, on all cores; failing seeds go to a file."""
    with step(f"simulation, {hours:g} hours") as tally:
        if not build("release", tally, "wal_sim"):
            return
        failures = ROOT / "sim_failures.txt"
        command = [build_dir("release") / "bin" / "wal_sim", "--hours", str(hours), "--failures", failures]
        status = subprocess.run(command).returncode
        tally.add("wal_sim", status == 0, f"seeds that failed stand in {failures}; replay one with HELIUM_SIM_SEED=N "
                                          "HELIUM_SIM_TRACE=1 build/tests/sim_test --gtest_filter='WalSim.Fixed*'")


def list_tests():
    with step("build"):
        build("release", total)
    for program in test_programs("release"):
        for case in cases_in(program):
            print(f"{program.name} {case}")
    for source in sorted((ROOT / "src").glob("*/*_fuzz.cc")):
        print(f"fuzz {source.stem}")
    subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider",
                    *PYTEST_FOLDERS])


def run_tests(names, quick):
    run_unit_tests("release", names)
    if not quick and not names:
        run_unit_tests("asan", [])
        run_unit_tests("tsan", [])
        run_fuzzers([])
    elif any("fuzz" in name for name in names):
        run_fuzzers(names)
    run_integration_tests(names, quick)


def main():
    parser = argparse.ArgumentParser(prog="./check", description="Runs the project's tests.")
    parser.add_argument("--quick", action="store_true", help="release unit tests and the tour only")
    parser.add_argument("--list", action="store_true", help="print the names of all tests")
    parser.add_argument("--sim-hours", type=float, metavar="N", help="only the WAL service's simulation, for N hours")
    parser.add_argument("--fuzz-seconds", type=int, metavar="N", help="only the fuzzers, N seconds each (those with NAME in theirs)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only tests whose name contains NAME")
    options = parser.parse_args()
    if options.list:
        list_tests()
        return 0
    if options.sim_hours is not None:
        run_simulation(options.sim_hours)
    elif options.fuzz_seconds is not None:
        run_fuzzers(options.names, options.fuzz_seconds)
    else:
        run_tests(options.names, options.quick)
    if total.passed + total.failed == 0:
        total.add("no test has such a name: see ./check --list", False)
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
