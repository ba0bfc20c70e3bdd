"""One size of collection: ours, bare hyper and nginx in one run, and what the size costs."""

import signal
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass

import compressing
import steady
from load import CONNECTIONS, measure, measure_alone, row_seconds
from prepare import collection, say
from rows import check_conditional, requests, save_answers, take_answer
from servers import start_hyper, start_nginx, start_ours
from tables import alone_table, cost, server_time, size_figures, table

STEADY_ROW = "songs?query=(rare word)"


@dataclass
class Result:
    """What one size gave."""

    songs: int
    title: str
    lines: list  # of the report
    main: list  # its main table
    size: list  # (what, figure) of memory and times
    packed: list  # its table of compression
    costs: dict  # request: microseconds of processor time
    times: dict  # request: microseconds of server time


def bench(songs, options, wrk, nginx):
    database = collection(songs)
    rows = requests(database, songs)
    starts = [start_once(database, options.workers) for _ in range(options.rounds - 1)]
    ours, start = start_ours(database, options.workers)
    servers = [ours]
    try:
        memory = {"idle": ours.memory()}
        for row in rows:
            take_answer(row, ours.port)
            if row.conditional:
                check_conditional(row, ours.port)
        folder = save_answers(songs, rows)
        servers += [start_hyper(folder, options.workers), start_nginx(nginx, folder, options.workers)]
        total = options.rounds * (len(servers) + 0.5) * sum(row_seconds(row, options.seconds) + 0.2 for row in rows)
        say(f"{songs:,} songs: about {total / 60:.0f} minutes")
        alone = measure_alone(wrk, ours, rows, options.rounds, options.seconds)
        loads = measure(wrk, servers, rows, options.rounds, options.seconds)
        memory["loaded"] = ours.memory()
        peers = {server.name: sum(pss for pss, _ in server.memory()) for server in servers[1:]}
        whole = [row.path for row in rows if row.name.endswith("(all)")]
        packed = compressing.report(ours, whole, options.rounds)
        path = next(row.paths[0] for row in rows if row.name == STEADY_ROW)
        say("  reloads under a steady load")
        with changing(database) as change:
            begin = lambda number: (change(number), ours.process.send_signal(signal.SIGHUP))
            reloads = steady.reload(ours, options.workers, path, options.rounds, options.seconds, begin)
        log = ours.log.read_text(errors="replace")
    finally:
        for server in servers:
            server.stop()
    main = table(rows, loads)
    size = size_figures(songs, [*starts, start], log, memory, reloads, peers)
    title = f"{songs:,} songs, {options.workers} workers, {CONNECTIONS} connections"
    lines = [
        f"## {title}",
        "",
        *main,
        "",
        "One connection on one processor, ours alone: server time is p50 less that of the heartbeat in the same round.",
        "",
        *alone_table(rows, alone),
        "",
        *packed,
        "",
        "| | |",
        "|---|--:|",
        *(f"| {what} | {figure} |" for what, figure in size),
        "",
    ]
    costs = {row.name: cost(alone[row.name]) for row in rows}
    times = {row.name: server_time(row.name, alone) for row in rows}
    return Result(songs, title, lines, main, size, packed, costs, times)


CHANGED = 10  # songs


@contextmanager
def changing(database):
    """Gives a function that changes some songs of a database, and takes all changes back at the end."""
    with closing(sqlite3.connect(database)) as rows:
        songs = rows.execute(f"SELECT id, track FROM tracks LIMIT {CHANGED}").fetchall()

        def write(added):
            with rows:
                new = [((track or 0) + added if added else track, song) for song, track in songs]
                rows.executemany("UPDATE tracks SET track = ? WHERE id = ?", new)

        try:
            yield write
        finally:
            write(0)


def start_once(database, workers):
    server, start = start_ours(database, workers)
    server.stop()
    return start
