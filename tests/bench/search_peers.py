"""What `--search` compares: ours and four search engines, each with how it is built, started, asked and changed."""

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from building import Loader, reading
from prepare import run, say
from servers import ROOT, TARGET, WORK, Failure, Server, fetch, free_port
from weighing import Anonymous, await_true

PROGRAM = WORK / "peers" / "release" / "search_peers"
DATASETTE = "datasette==0.65.5"
FIELDS = "id name length track year album album_id artist artist_id genre genre_id".split()
PROCESSES = 2


def build_program():
    command = "cargo build --release --locked --manifest-path"
    folder = ROOT / "tests" / "bench" / "peers"
    run(*command.split(), folder / "Cargo.toml", env=os.environ | {"CARGO_TARGET_DIR": str(WORK / "peers")})


class Peer:
    """An engine on one collection. Its index is below `folder`."""

    def __init__(self, database, folder):
        self.database, self.index, self.server = database, folder / type(self).__name__.lower(), None

    def build(self):
        """(seconds, the peak of anonymous bytes) of making the index."""
        raise NotImplementedError

    def start(self, first):
        """Starts, and waits for the first answer to that question."""
        raise NotImplementedError

    def path(self, question):
        return question.path

    def rows(self, body):
        return json.loads(body)["success"]

    def ask(self, question):
        response, body = fetch(self.server.port, self.path(question))
        if response.status != 200:
            raise Failure(f"{self.name} answers {question.name} with status {response.status}: {body[:500]}")
        return self.rows(body)

    def change(self, row):
        """Replaces the song with the id of this row."""
        raise NotImplementedError

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request("POST", path, body=json.dumps(body), headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            if (answer := response.read()) and response.status != 200:
                raise Failure(f"{self.name} takes no change: {response.status} {answer[:500]}")
        finally:
            connection.close()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None


class Ours(Peer):
    name = "Avalon"

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.copy = folder / "collection.sqlite"  # as it will be changed

    @property
    def snapshot(self):
        return self.index / "snapshot"

    def build(self):
        self.index.mkdir()
        shutil.copyfile(self.database, self.copy)
        self.launch()
        with Loader(self.server) as loader:
            await_true(lambda: " serves on " in self.server.log.read_text(), self.server)
            seconds = self.server.age()
        await_true(self.snapshot.exists, self.server)
        self.stop()
        return seconds, loader.anonymous

    def launch(self):
        env = {key: value for key, value in os.environ.items() if not key.startswith("AVALON_")}
        env |= {"AVALON_DATABASE_URL": f"sqlite:///{self.copy}", "AVALON_STATSD_HOST": "", "TMPDIR": str(WORK)}
        env |= {"AVALON_SNAPSHOT_PATH": str(self.snapshot), "AVALON_CONTROL": str(WORK / "search.socket")}
        port = free_port()
        master = TARGET / "release" / "avalon-master"
        command = [master, "--workers", PROCESSES, "--bind", f"127.0.0.1:{port}"]
        self.server = Server("search-avalon", command, port, env)

    def start(self, first):
        self.launch()
        self.server.await_heartbeat(first.path)
        seconds = self.server.age()
        # It reads the database after a start from what was kept; that is over before anything is measured.
        await_true(lambda: "collection loaded" in self.server.log.read_text() and not self.loads(), self.server)
        return seconds

    def loads(self):
        return any(reading(f"/proc/{pid}/cmdline").startswith("avalon: loader") for pid in self.server.children())

    def change(self, row):
        with sqlite3.connect(self.copy) as rows:
            rows.execute("UPDATE tracks SET name = ? WHERE id = ?", (row["name"], row["id"].replace("-", "")))
        rows.close()
        self.server.process.send_signal(signal.SIGHUP)


class Program(Peer):
    """One of the two in tests/bench/peers."""

    def build(self):
        command = [PROGRAM, "build", "--engine", self.engine, "--database", self.database, "--index", self.index]
        with Anonymous([command]) as built:
            built.wait()
        return built.seconds, built.peak

    def start(self, first):
        port = free_port()
        command = [PROGRAM, "serve", "--engine", self.engine, "--index", self.index, "--threads", PROCESSES]
        self.server = Server(f"search-{self.engine}", [*command, "--bind", f"127.0.0.1:{port}"], port)
        self.server.await_heartbeat(first.path)
        return self.server.age()

    def change(self, row):
        self.post("/avalon/songs", row)


class Fts5(Program):
    name, engine = "FTS5", "fts5"


class Tantivy(Program):
    name = engine = "tantivy"


class Datasette(Peer):
    """Serves the very file of FTS5."""

    name = "Datasette"

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.index = folder / "fts5"
        self.file = self.index / "songs.sqlite"

    @staticmethod
    def install():
        folder = WORK / "datasette"
        if not (folder / "bin" / "datasette").exists():
            say(f"installing {DATASETTE} from PyPI")
            run(sys.executable, "-m", "venv", "--clear", folder)
            run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", DATASETTE)

    def build(self):
        return None

    def start(self, first, mutable=False):
        self.install()
        port = free_port()
        env = os.environ | {"SONGS": str(self.file), "MUTABLE": "yes" if mutable else "no"}
        command = [WORK / "datasette" / "bin" / "uvicorn", "datasette_app:app", "--app-dir", Path(__file__).parent]
        command += ["--workers", PROCESSES, "--port", port, "--no-access-log", "--log-level", "warning"]
        self.server = Server("search-datasette", command, port, env)
        self.server.await_heartbeat(self.path(first))
        return self.server.age()

    def path(self, question):
        """The SQL of tests/bench/peers/src/fts5.rs."""
        asked = {"_shape": "arrayfirst", "_json": "json"}
        if question.albums:
            return f"/songs.json?{urlencode(asked | {'sql': 'SELECT json FROM albums'})}"
        sql, conditions = "SELECT json FROM songs", []
        if question.words:
            sql += " JOIN words ON words.rowid = number"
            conditions.append("words MATCH :words")
            asked["words"] = " ".join(f'"{word}"*' for word in question.words)
        for key, value in (("artist", question.artist), ("genre", question.genre)):
            if value:
                conditions.append(f"{key} = :{key}")
                asked[key] = value.lower()
        if conditions:
            sql += f" WHERE {' AND '.join(conditions)}"
        sql += " ORDER BY year" if question.by_year else ""
        sql += f" LIMIT {question.limit} OFFSET {question.offset}" if question.limit else ""
        return f"/songs.json?{urlencode(asked | {'sql': sql})}"

    def rows(self, body):
        return json.loads(body)

    def change(self, row):
        text = lambda of: " ".join(of[key] for key in ("name", "album", "artist", "genre"))
        with sqlite3.connect(self.file) as rows:
            find = "SELECT number, json FROM songs WHERE id = ?"
            number, old = rows.execute(find, (row["id"],)).fetchone()
            forget = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)"
            rows.execute(forget, (number, text(json.loads(old))))
            rows.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text(row)))
            rows.execute("UPDATE songs SET json = ? WHERE number = ?", (json.dumps(row), number))
        rows.close()


class Groonga(Peer):
    name = "Groonga"

    @staticmethod
    def installed():
        if not shutil.which("groonga"):
            try:
                run(ROOT / "scripts" / "install-test-deps", "bench")
            except Failure as failure:
                say(f"without Groonga: {failure}")
        return shutil.which("groonga") is not None

    @property
    def file(self):
        return self.index / "songs.grn"

    def build(self):
        self.index.mkdir()
        log = ["--log-path", self.index / "groonga.log"]
        rows = [PROGRAM, "groonga", "--database", self.database]
        with Anonymous([rows, ["groonga", *log, "-n", self.file]]) as built:
            built.wait()
        return built.seconds, built.peak

    def start(self, first):
        port = free_port()
        command = ["groonga", "--log-path", self.index / "groonga.log", "-s", "--protocol", "http"]
        # Without its cache of answers: the same few questions come again and again here.
        command += ["--cache-limit", 0, "--bind-address", "127.0.0.1", "-p", port, "-t", PROCESSES, self.file]
        self.server = Server("search-groonga", command, port)
        self.server.await_heartbeat(self.path(first))
        return self.server.age()

    def path(self, question):
        asked = {"table": "Albums" if question.albums else "Songs", "limit": question.limit or -1}
        asked["output_columns"] = ",".join(["_key", *(FIELDS[1:2] if question.albums else FIELDS[1:])])
        if question.words:
            asked |= {"match_columns": "text", "query": " ".join(f"{word}*" for word in question.words)}
        named = (("artist", question.artist), ("genre", question.genre))
        filters = [f"{key} == {json.dumps(value, ensure_ascii=False)}" for key, value in named if value]
        if filters:
            asked["filter"] = " && ".join(filters)
        if question.by_year:
            asked["sort_keys"] = "year"
        if question.offset:
            asked["offset"] = question.offset
        return f"/d/select?{urlencode(asked, quote_via=quote)}"

    def rows(self, body):
        return [dict(zip(FIELDS, row)) for row in json.loads(body)[1][0][2:]]

    def change(self, row):
        text = " ".join(row[key] for key in ("name", "album", "artist", "genre"))
        self.post("/d/load?table=Songs", [{"_key": row["id"], "name": row["name"], "text": text}])
