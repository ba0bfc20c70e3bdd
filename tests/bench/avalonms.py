"""The predecessor as a peer: avalonms 0.6.0 under Gunicorn on the same SQLite file.

It is installed from PyPI into target/bench/avalonms with the last versions of Flask and
SQLAlchemy that it runs with. It answers requests in orders of magnitude fewer a second, so it
is measured with requests of its own, apart from the peers that are near; bare hyper is the ceiling.

Gunicorn's sync workers close each connection after its answer and are kept busy by eight clients,
while the load generator takes much of the processors from servers as quick as ours. So the
processor time of a request is told as well, which does not depend on either.
"""

import json
import os
import re
import shutil
import sqlite3
import statistics
import time
from collections import Counter
from pathlib import Path

from load import CONNECTIONS, drive
from prepare import collection, run, say
from rows import Row, requests, save_answers, take_answer
from servers import ROOT, WORK, Failure, Server, fetch, free_port, start_hyper, start_ours

REQUIREMENTS = ROOT / "tests" / "fixtures" / "avalonms" / "requirements.txt"
PYTHONS = ("python3.11", "python3.10", "python3.9", "python3")
AIMED = 100_000
# the requests of the main table that are compared, and the ratio that is aimed at with so many songs
TARGETS = {
    "heartbeat": None,
    "songs?query=(rare word)": 55,
    "songs?artist=(name)": 55,
    "songs?query=(3 letters)&limit=20": None,
    "songs?query=(commonest 3 letters)&limit=20": 1500,
    "songs?query=(1 letter)&limit=20": None,
    "songs?limit=20&offset=(half)&order=year": 3500,
    "albums (all)": 300,
}
SLOW_SECONDS = 10  # its typeahead takes a quarter of a second, its pages half of one, eight at a time
HEAD = [
    "| request | ours req/s | hyper req/s | avalonms req/s | ours/avalonms | hyper/avalonms | aim"
    " | ours, avalonms us of processor | ratio |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
]


def install():
    """The Gunicorn of an environment with avalonms, made unless it is there."""
    folder = WORK / "avalonms"
    stamp = folder / "pinned.txt"
    pinned = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != pinned:
        say("installing avalonms from PyPI")
        python = next(filter(None, map(shutil.which, PYTHONS)), None)
        shutil.rmtree(folder, ignore_errors=True)
        run(python, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS)
        stamp.write_text(pinned)
    return folder / "bin" / "gunicorn"


def start(gunicorn, database, workers):
    """Gunicorn with avalonms, and its seconds to the first answer."""
    settings = WORK / "avalonms.py"
    settings.write_text(f"DATABASE_URL = {'sqlite:///' + str(database)!r}\nLOG_LEVEL = 30\n")
    port = free_port()
    command = [gunicorn, "--preload", "--workers", workers, "--timeout", 120, "--bind", f"127.0.0.1:{port}"]
    begun = time.monotonic()
    env = os.environ | {"AVALON_CONFIG": str(settings)}
    server = Server("avalonms", [*command, "avalon.app.wsgi"], port, env)
    try:
        server.await_heartbeat()
        return server, time.monotonic() - begun
    except BaseException:
        server.stop()
        raise


def same_answer(path, servers):
    """Both answer the same entities, if not in the same order: theirs is arbitrary without one."""
    answers = []
    for server in servers:
        response, body = fetch(server.port, path)
        if response.status != 200:
            raise Failure(f"{server.name} answers {path} with status {response.status}")
        answers.append([] if path.endswith("heartbeat") else json.loads(body)["success"])
    ours, theirs = answers
    if len(ours) != len(theirs):
        raise Failure(f"{path}: ours has {len(ours)} entities, avalonms {len(theirs)}")
    key = lambda entity: entity["id"]
    if "limit" not in path and sorted(ours, key=key) != sorted(theirs, key=key):
        raise Failure(f"{path}: ours has other entities than avalonms")


def typeahead(database):
    """The three letters with which a word of most songs' names begins, and the page that they ask for."""
    found = Counter()
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
        names = rows.execute(
            "SELECT t.name, a.name, b.name, g.name FROM tracks t JOIN albums a ON a.id = t.album_id"
            " JOIN artists b ON b.id = t.artist_id JOIN genres g ON g.id = t.genre_id"
        )
        for song in names:
            words = " ".join(filter(None, song)).lower().split()
            found.update({word[:3] for word in words if re.fullmatch("[a-z]{3}", word[:3])})
    letters = found.most_common(1)[0][0]
    return Row("songs?query=(commonest 3 letters)&limit=20", f"songs?query={letters}&limit=20", rows=20)


def compare(songs, options, wrk):
    """All lines of the report on one size."""
    gunicorn = install()
    database = collection(songs)
    rows = [row for row in [*requests(database, songs), typeahead(database)] if row.name in TARGETS]
    rows.sort(key=lambda row: list(TARGETS).index(row.name))
    servers = []
    try:
        ours, begin = start_ours(database, options.workers)
        servers.append(ours)
        for row in rows:
            take_answer(row, ours.port)
        servers.append(start_hyper(save_answers(songs, rows), options.workers))
        say(f"avalonms with {songs:,} songs starts; it takes its time")
        theirs, seconds = start(gunicorn, database, options.workers)
        servers.append(theirs)
        for row in rows:
            same_answer(row.paths[0], [ours, theirs])
        loads = measure(wrk, servers, rows, options)
        memory = [sum(pss for pss, _ in server.memory()) / 1e6 for server in (ours, theirs)]
    finally:
        for server in servers:
            server.stop()
    return [
        f"## {songs:,} songs, against avalonms 0.6.0 under Gunicorn, {options.workers} workers,"
        f" {CONNECTIONS} connections",
        "",
        *HEAD,
        *(line(row, loads, songs) for row in rows),
        "",
        f"Start to first answer: ours {begin.seconds:.2f} s, avalonms {seconds:.1f} s."
        f" Sum of PSS after the load: ours {memory[0]:.0f} MB, avalonms {memory[1]:.0f} MB.",
        "",
    ]


def measure(wrk, servers, rows, options):
    """{(row name, server name): (load, seconds of processor time per request) by round}, in turn."""
    loads = {(row.name, server.name): [] for row in rows for server in servers}
    for turn in range(options.rounds):
        say(f"  avalonms, round {turn + 1} of {options.rounds}")
        for row in rows:
            for server in servers[:: 1 if turn % 2 == 0 else -1]:
                quick = server.name != "avalonms" or options.quick
                seconds = options.seconds if quick else max(options.seconds, SLOW_SECONDS)
                paths = [row.peer_path] if server.name == "hyper" else row.paths
                before = server.worker_time()
                load = drive(wrk, server, paths, {}, seconds)
                spent = server.worker_time() - before
                loads[row.name, server.name].append((load, spent / load.requests))
    return loads


def line(row, loads, songs):
    ours, hyper, theirs = (loads[row.name, name] for name in ("ours", "hyper", "avalonms"))
    rate = lambda of: statistics.median(load.rate for load, _ in of)
    cost = lambda of: statistics.median(spent for _, spent in of) * 1e6
    over = lambda of: statistics.median(one.rate / its.rate for (one, _), (its, _) in zip(of, theirs))
    aim = TARGETS[row.name] if songs == AIMED else None
    return (
        f"| `{row.name}` | {rate(ours):,.0f} | {rate(hyper):,.0f} | {rate(theirs):,.1f} | {over(ours):,.0f}"
        f" | {over(hyper):,.0f} | {f'{aim:,}' if aim else ''} | {cost(ours):,.0f}, {cost(theirs):,.0f}"
        f" | {cost(theirs) / cost(ours):,.0f} |"
    )
