"""PostgreSQL's own test suites against a running server: which there are, and how one is run.

The SQL files come from a source tree, the drivers (pg_regress, isolationtester) and modules from the installation.
What the server itself reads and writes lies in a copy that belongs to its user.
"""

import os
import pathlib
import re
import shutil
import subprocess

CONTRIB = ["bloom", "btree_gin", "btree_gist", "citext", "cube", "hstore", "intarray", "ltree", "pageinspect", "pg_trgm",
           "pg_visibility", "seg", "amcheck"]
NAMES = ["regress", "isolation", "contrib", "pgvector"]


class Installation:
    """Programs and libraries of one PostgreSQL."""

    def __init__(self, bin_dir, drivers=None, user="postgres"):
        self.bin = pathlib.Path(bin_dir)
        self.drivers = pathlib.Path(drivers) if drivers else self.bin.parent / "lib/pgxs/src/test"
        self.user = user if os.getuid() == 0 else None  # servers do not run as root

    def version(self):
        """The major version of the tools."""
        text = self.run(self.bin / "pg_dump", "--version", check=True, capture_output=True, text=True).stdout
        return int(re.search(r"\d+", text).group(0))

    def run(self, *command, **options):
        if self.user:
            options |= {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, **options)


class Server:
    """Where a suite runs."""

    def __init__(self, installation, port, user):
        self.installation = installation
        self.port = port
        self.user = user

    def tool(self, name, *arguments, database="postgres", **options):
        env = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": self.user, "PGDATABASE": database}
        return self.installation.run(self.installation.bin / name, *arguments, env=env, capture_output=True, text=True,
                                     cwd="/", **options)

    def rows(self, query, database="postgres"):
        result = self.tool("psql", "-qAtX", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query, database=database)
        if result.returncode != 0:
            raise RuntimeError(f"{query}: {result.stderr.strip()}")
        return [line.split("\t") for line in result.stdout.splitlines()]

    def databases(self):
        return [row[0] for row in self.rows("SELECT datname FROM pg_database WHERE datallowconn ORDER BY oid")]


class Suite:
    """One call of pg_regress. `tests` is a list of names, or the name of a schedule file."""

    def __init__(self, name, source, tests, driver="regress/pg_regress", options=()):
        self.name = name
        self.source = pathlib.Path(source)
        self.tests = tests
        self.driver = driver
        self.options = list(options)

    def run(self, server, work, files=()):
        """(tests that ran, names of those whose output differs); the differences stay in work/regression.diffs."""
        installation = server.installation
        shutil.copytree(self.source, work)
        for file in files:
            shutil.copy(file, work)
        if installation.user:
            subprocess.run(["chown", "-R", installation.user, work], check=True)
        tests = [f"--schedule={work}/{self.tests}"] if isinstance(self.tests, str) else self.tests
        result = installation.run(
            installation.drivers / self.driver, f"--bindir={installation.bin}", f"--dlpath={work}", f"--inputdir={work}",
            f"--outputdir={work}", "--host=127.0.0.1", f"--port={server.port}", f"--user={server.user}",
            f"--dbname={self.name}", "--max-concurrent-tests=20", *self.options, *tests, cwd=work, capture_output=True,
            text=True)
        (work / "output").write_text(result.stdout + result.stderr)
        ran = re.findall(r"^(?:test |     )(\S+)\s+\.\.\. (ok|FAILED|failed \(ignored\))", result.stdout, re.M)
        tap = re.findall(r"^(ok|not ok) \d+\s+[-+] (\S+)", result.stdout, re.M)  # since PostgreSQL 16
        outcomes = [(name, outcome == "ok") for name, outcome in ran] + [(name, outcome == "ok") for outcome, name in tap]
        if not outcomes:
            raise RuntimeError(f"{self.name} did not run: {result.stdout[-2000:]}{result.stderr[-2000:]}")
        return len(outcomes), [name for name, good in outcomes if not good]


def make_list(makefile, variable):
    """A variable of a Makefile as words."""
    found = re.search(rf"^{variable}\s*=(.*)$", makefile.read_text().replace("\\\n", " "), re.M)
    return found.group(1).split() if found else []


def build_regress_library(source, include, folder):
    """regress.so is in no package: C functions that the core suite creates."""
    library = folder / "regress.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", *headers(source, include), '-DDLSUFFIX=".so"', "-o", library,
                    source / "src/test/regress/regress.c"], check=True)
    return library


def headers(source, include):
    """The server's own minor version first: a later one's headers call functions that it does not have. What a build
    generates comes from the package."""
    return ["-I", source / "src/include", "-I", include]


def copy_with_pgvector(bin_dir, pgvector, include_options, folder):
    """A copy of the installation with pgvector built into it; the machine's own stays as it is. Returns its bin."""
    config = {}
    for line in subprocess.run([bin_dir / "pg_config"], check=True, capture_output=True, text=True).stdout.splitlines():
        name, _, value = line.partition(" = ")
        config[name] = value
    # PostgreSQL finds its files by their place relative to the program, so both trees keep their distance.
    root = pathlib.Path(os.path.commonpath([config["BINDIR"], config["SHAREDIR"]]))
    for place in ("BINDIR", "PKGLIBDIR", "SHAREDIR"):
        shutil.copytree(config[place], folder / pathlib.Path(config[place]).relative_to(root), dirs_exist_ok=True)
    library = folder / pathlib.Path(config["PKGLIBDIR"]).relative_to(root) / "vector.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-ftree-vectorize", "-fassociative-math", "-fno-signed-zeros",
                    "-fno-trapping-math", *include_options, "-o", library, *sorted((pgvector / "src").glob("*.c")), "-lm"], check=True)
    extension = folder / pathlib.Path(config["SHAREDIR"]).relative_to(root) / "extension"
    shutil.copy(pgvector / "vector.control", extension)
    version = re.search(r"default_version = '(.*)'", (pgvector / "vector.control").read_text()).group(1)
    shutil.copy(pgvector / "sql/vector.sql", extension / f"vector--{version}.sql")
    return folder / pathlib.Path(config["BINDIR"]).relative_to(root)


def chosen(names, source, pgvector):
    """The suites of the groups `names`, in an order in which the big one comes first."""
    suites = []
    if "regress" in names:
        suites.append(Suite("regression", source / "src/test/regress", "parallel_schedule"))
    if "isolation" in names:
        suites.append(Suite("isolation_regression", source / "src/test/isolation", "isolation_schedule",
                            "isolation/pg_isolation_regress"))
    if "contrib" in names:
        for module in CONTRIB:
            folder = source / "contrib" / module
            suites.append(Suite(f"contrib_{module}", folder, make_list(folder / "Makefile", "REGRESS")))
    if "pgvector" in names and pgvector:
        suites.append(Suite("contrib_regression_vector", pgvector / "test",
                            sorted(file.stem for file in (pgvector / "test/sql").glob("*.sql")),
                            options=["--load-extension=vector"]))
    return suites
