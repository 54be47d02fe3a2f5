"""PostgreSQL's own suites against a cluster: core regression, isolation, extensions.

Their sources may be of another version than the server: what a test expects does not count here, only the WAL that it
makes. Tests whose C functions cannot be built for the server fail, and are counted.
"""

import os
import pathlib
import re
import shutil
import subprocess

CONTRIB = ["bloom", "btree_gin", "btree_gist", "citext", "cube", "hstore", "intarray", "ltree", "pageinspect", "pg_trgm",
           "pg_visibility", "seg", "amcheck"]


def copy_tree(cluster, source, name):
    work = cluster.dir / name
    shutil.copytree(source, work)
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", cluster.user, work], check=True)
    return work


def run_suite(cluster, program, name, work, *arguments):
    """pg_regress or pg_isolation_regress; prints how many tests ended as they should."""
    log = cluster.dir / f"{name}.out"
    with open(log, "w") as out:
        cluster.run(cluster.pgxs / program, f"--bindir={cluster.client}", f"--inputdir={work}", f"--outputdir={work}",
                    f"--host={cluster.dir}", f"--port={cluster.port}", "--user=postgres", "--max-concurrent-tests=20",
                    *arguments, cwd=work, check=False, stdout=out, stderr=subprocess.STDOUT)
    tests = re.findall(r"(?:^test|^     ) *(\S+) +\.\.\. *(ok|FAILED)", log.read_text(), re.M)
    if not tests:
        raise RuntimeError(f"{name}: no test ran:\n{log.read_text()[-2000:]}")
    failed = [test for test, result in tests if result != "ok"]
    print(f"{name}: {len(tests) - len(failed)} of {len(tests)} tests as expected", flush=True)


def build_regress_library(cluster, work):
    """regress.so for the server's version, if its headers are there; without it some tests fail."""
    library = work / "regress.so"
    includes = cluster.args.pg_include
    if includes is None and not cluster.args.pg_dir:
        includes = [cluster.run(cluster.client / "pg_config", "--includedir-server", stdout=subprocess.PIPE,
                                text=True).stdout.strip()]
    if library.exists() or not includes or not (pathlib.Path(includes[0]) / "postgres.h").exists():
        return
    cluster.run("cc", "-shared", "-fPIC", "-O1", *[f"-I{i}" for i in includes], "-DDLSUFFIX=\".so\"", "-o", library,
                work / "regress.c")


def core(cluster, source):
    work = copy_tree(cluster, source, "regress")
    (work / "testtablespace").mkdir(exist_ok=True)
    build_regress_library(cluster, work)
    run_suite(cluster, "test/regress/pg_regress", "regress", work, f"--dlpath={work}",
              f"--schedule={work}/parallel_schedule", "--dbname=regression")


def isolation(cluster, source):
    work = copy_tree(cluster, source, "isolation")
    run_suite(cluster, "test/isolation/pg_isolation_regress", "isolation", work,
              f"--schedule={work}/isolation_schedule", "--dbname=isolation_regression")


def contrib(cluster, source, modules=CONTRIB):
    """The suites of extensions with access methods, operator classes or WAL of their own."""
    for module in modules:
        work = copy_tree(cluster, pathlib.Path(source) / module, module)
        makefile = (work / "Makefile").read_text().replace("\\\n", " ")
        listed = re.search(r"^(?:REGRESS|TESTS)\s*=(.*)$", makefile, re.M).group(1)
        tests = [t.stem for t in (work / "test/sql").glob("*.sql")] if "wildcard" in listed else listed.split()
        inputs = work / "test" if (work / "test/sql").exists() else work
        run_suite(cluster, "test/regress/pg_regress", module, inputs, f"--dbname=contrib_{module}", *tests)
        cluster.psql("VACUUM", database=f"contrib_{module}", check=False)
