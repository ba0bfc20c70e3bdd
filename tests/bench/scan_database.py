"""A PostgreSQL cluster of a benchmark's own, on a port of 127.0.0.1."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from servers import Failure, free_port


class Cluster:
    def __init__(self):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise Failure("PostgreSQL is missing; run scripts/install-test-deps")
        self.programs = found[-1].parent
        self.port = free_port()
        self.made = 0

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="avalon-bench-pg-"))
        # it refuses to run as root
        self.user = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.user = "setpriv --reuid=postgres --regid=postgres --clear-groups".split()
        data = self.folder / "data"
        self.run("initdb", "--no-sync", "--auth=trust", "--username=avalon", "--encoding=UTF8", data)
        command = [*self.user, self.programs / "postgres", "-D", data, "-p", self.port, "-k", self.folder]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "autovacuum=off"]
        with (self.folder / "log").open("wb") as log:
            self.server = subprocess.Popen([str(part) for part in command], cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.ask("SELECT 1", check=False) != "1":
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"PostgreSQL does not start; {self.folder}/log says why")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, *arguments, check=True):
        command = [*self.user, self.programs / program, *arguments]
        done = subprocess.run([str(part) for part in command], cwd="/", capture_output=True, text=True)
        if check and done.returncode != 0:
            raise Failure(f"{program}: {done.stderr}")
        return done.stdout.strip()

    def ask(self, query, check=True, database="postgres"):
        arguments = ["-h", self.folder, "-p", self.port, "-U", "avalon", "-d", database, "-Atc", query]
        return self.run("psql", *arguments, check=check)

    def new_database(self):
        """Its URL."""
        self.made += 1
        self.ask(f"CREATE DATABASE bench{self.made}")
        return f"postgresql://avalon@127.0.0.1:{self.port}/bench{self.made}"

    def written(self):
        """Bytes of log since ever."""
        return int(self.ask("SELECT pg_current_wal_insert_lsn() - '0/0'"))
