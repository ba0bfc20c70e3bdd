"""What a reload does to a steady load beside it: rows in SQLite and in PostgreSQL on the same machine, all of them read
after SIGHUP, or ten that have changed by the log of changes. Each server is new, and reloads several times."""

import os
import shutil
import signal
import sqlite3
import statistics
import sys
import uuid
from contextlib import ExitStack, closing

import steady
from prepare import SEED, collection, run, say
from rows import RARE_WORD
from scan_database import Cluster
from servers import TARGET, WORK, Server, free_port

RELOADS = 5  # of each server
CHANGED = 10  # songs of each reload
PATH = f"/avalon/songs?query={RARE_WORD}"
# Of the log of changes (src/database/change_log.rs): a song, and all changes of a revision being there.
SONG, COMPLETE = 4, 5
# Where rows are read from, and which of them a reload reads.
SOURCES = ("SQLite", "PostgreSQL")
WAYS = ("all", "changed")

TABLES = """
CREATE TABLE avalon_revision (one BOOLEAN NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    counter BIGINT NOT NULL, scan {id}, changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE avalon_changes (counter BIGINT NOT NULL, kind INTEGER NOT NULL, id {id} NOT NULL,
    PRIMARY KEY (counter, kind, id));
INSERT INTO avalon_revision (counter, scan) VALUES (1, '{scan}');
INSERT INTO avalon_changes VALUES (1, {complete}, '{scan}');
"""


class Rows:
    """A database with a collection, and with the tables of a scan that keep its revision and its changes."""

    def __init__(self, url, execute, id_type):
        self.url, self.execute, self.revision = url, execute, 1
        self.execute(TABLES.format(id=id_type, scan=uuid.uuid4().hex, complete=COMPLETE))

    def change(self):
        """Changes songs as a scan does, which logs them."""
        self.revision += 1
        scan = uuid.uuid4().hex
        songs = f"(SELECT id FROM tracks ORDER BY id LIMIT {CHANGED})"
        self.execute(f"""BEGIN;
            UPDATE tracks SET track = coalesce(track, 0) + 1 WHERE id IN {songs};
            INSERT INTO avalon_changes VALUES ({self.revision}, {COMPLETE}, '{scan}');
            INSERT INTO avalon_changes SELECT {self.revision}, {SONG}, id FROM {songs} AS song;
            UPDATE avalon_revision SET counter = {self.revision}, scan = '{scan}';
            COMMIT;""")


def in_sqlite(songs, stack):
    copy = WORK / f"reloading-{songs}.sqlite"
    stack.callback(copy.unlink, missing_ok=True)
    shutil.copyfile(collection(songs), copy)
    database = stack.enter_context(closing(sqlite3.connect(copy)))
    return Rows(f"sqlite:///{copy}", database.executescript, "CHAR(32)")


def in_postgres(songs, stack):
    cluster = stack.enter_context(Cluster())
    url = cluster.new_database()
    generate = TARGET / "release" / "examples" / "generate"
    run(generate, "--songs", songs, "--seed", SEED, "--database", url, stdout=sys.stderr)
    execute = lambda statements: cluster.ask(statements, database=url.rpartition("/")[2])
    execute("VACUUM ANALYZE")
    return Rows(url, execute, "UUID")


def start(program, url, workers, way, name):
    env = {key: value for key, value in os.environ.items() if not key.startswith("AVALON_")}
    port = free_port()
    env |= {
        "AVALON_DATABASE_URL": url,
        "AVALON_BIND": f"127.0.0.1:{port}",
        "AVALON_CONTROL": "none",
        "AVALON_STATSD_HOST": "",
        "AVALON_RELOAD_ON_CHANGE": str(way == "changed").lower(),
    }
    return Server(name, [program, "--workers", workers], port, env).started()


def measure(program, rows, way, options, name):
    """(p99 before, p99 during, seconds): medians of the reloads of one server."""
    server = start(program, rows.url, options.workers, way, name)

    def begin(_):
        rows.change()
        if way == "all":
            server.process.send_signal(signal.SIGHUP)

    try:
        figures, _ = steady.reload(server, options.workers, PATH, RELOADS, max(options.seconds, 1), begin)
    finally:
        server.stop()
    return figures


def line(songs, source, way, name, figures):
    ratios = [during / before for before, during, _ in figures]
    before, during, seconds = (statistics.median(column) for column in zip(*figures))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    cells = f"{before:.2f} | {during:.2f} | {statistics.median(ratios):.2f} | {spread} | {seconds:.2f}"
    return f"| {songs:,} | {source} | {way} | {name} | {cells} |"


def reloading(options):
    """The lines on all sizes, beside another build where one is named."""
    programs = {"ours": TARGET / "release" / "avalon-master"}
    if options.against:
        programs["other"] = options.against.resolve()
    lines = [
        f"{steady.RATE} requests a second, {options.workers} workers, {options.rounds} servers in turn, medians of"
        f" {RELOADS} reloads of each, {CHANGED} changed songs:",
        "",
        "| songs | rows in | read | program | p99 before, ms | during | ratio | of servers | seconds |",
        "|--:|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for songs in options.songs:
        for source, make in zip(SOURCES, (in_sqlite, in_postgres)):
            with ExitStack() as stack:
                rows = make(songs, stack)
                figures = {(way, name): [] for way in WAYS for name in programs}
                for turn in range(options.rounds):
                    for way, name in sorted(figures, reverse=turn % 2 == 1):
                        say(f"  {songs:,} songs in {source}, {way}, {name}, {turn + 1} of {options.rounds}")
                        measured = measure(programs[name], rows, way, options, f"reloading-{name}")
                        figures[way, name].append(measured)
                        say(line(songs, source, way, name, [measured]))
            lines += [line(songs, source, way, name, measured) for (way, name), measured in figures.items()]
    return [*lines, ""]
