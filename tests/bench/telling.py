"""What it costs a request that somebody is told of it: each kind of telemetry against a server
that has none, in one run. Processor time is that of all workers, on one processor, with one
connection: nothing waits for anything but its own answer.
"""

import os
import socket
import statistics
import threading
import urllib.request
from contextlib import contextmanager

from load import drive
from prepare import collection, say
from rows import requests
from servers import TARGET, WORK, Server, free_port

SONGS = 100_000
ROWS = ("heartbeat", "songs?artist=(name)")
NOTHING = {"STATSD_HOST": "", "REQUEST_ID_HEADER": "", "METRICS": "false"}
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
FORWARDED = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
LOG = {"ACCESS_LOGFILE": WORK / "access.log"}

# What is told: settings beside NOTHING, and header fields of the requests. Those with fields are
# compared with the same fields and nothing told.
KINDS = {
    "request ids": ({"REQUEST_ID_HEADER": "X-Request-Id"}, {}),
    "Server-Timing": ({"DEBUG_HEADERS": "true"}, {}),
    "statsd, somebody listens": ({"STATSD_HOST": "127.0.0.1"}, {}),
    "Prometheus, a scrape a second": ({"METRICS": "true"}, {}),
    "access log": (LOG, {}),
    "access log in JSON": (LOG | {"ACCESS_LOGFORMAT": "json"}, {}),
    "access log in JSON, request ids, trace and a proxy's fields": (
        LOG | {"ACCESS_LOGFORMAT": "json", "REQUEST_ID_HEADER": "X-Request-Id"},
        TRACE | FORWARDED,
    ),
}


def start(database, workers, settings):
    env = {key: value for key, value in os.environ.items() if not key.startswith("AVALON_")}
    settings = NOTHING | {"DATABASE_URL": f"sqlite:///{database}"} | settings
    env |= {f"AVALON_{key}": str(value) for key, value in settings.items()}
    port = free_port()
    command = [TARGET / "release" / "avalon-master", "--workers", workers, "--bind", f"127.0.0.1:{port}"]
    return Server("telling", command, port, env).started()


@contextmanager
def listening(settings):
    """A socket that takes what is sent to statsd, if anything is."""
    if settings.get("STATSD_HOST") != "127.0.0.1":
        yield settings
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))
        yield settings | {"STATSD_PORT": taker.getsockname()[1]}


@contextmanager
def scraped(port, wanted):
    """Asks for the metrics once a second, if that is wanted."""
    done = threading.Event()

    def scrape():
        while not done.wait(1):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/avalon/metrics", timeout=20).read()

    thread = threading.Thread(target=scrape)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if wanted:
            thread.join()


def cost(wrk, server, row, fields, seconds, scrape):
    """Requests a second, and microseconds of processor time for each."""
    with scraped(server.port, scrape), server.on_one_processor():
        before = server.worker_time()
        load = drive(wrk, server, row.paths, row.request_headers() | fields, seconds, 1)
        return load.rate, (server.worker_time() - before) * 1e6 / load.requests


def telling(options, wrk):
    """A table: ratios of the same round, with telemetry to without."""
    database = collection(SONGS)
    rows = {row.name: row for row in requests(database, SONGS) if row.name in ROWS}
    ratios = {(kind, name): [] for kind in KINDS for name in rows}
    bare = {name: [] for name in rows}
    for turn in range(options.rounds):
        say(f"  what telling costs, round {turn + 1} of {options.rounds}")
        for kind, (settings, fields) in KINDS.items():
            with listening(settings) as settings:
                servers = [start(database, options.workers, settings), start(database, options.workers, {})]
                try:
                    order = servers if turn % 2 else servers[::-1]
                    for name, row in rows.items():
                        scrape = settings.get("METRICS") == "true"
                        costs = {
                            server: cost(wrk, server, row, fields, options.seconds, scrape and server is servers[0])
                            for server in order
                        }
                        (rate, spent), (bare_rate, bare_spent) = costs[servers[0]], costs[servers[1]]
                        ratios[kind, name].append((rate / bare_rate, spent / bare_spent))
                        bare[name].append(bare_spent)
                finally:
                    for server in servers:
                        server.stop()
                    (WORK / "access.log").unlink(missing_ok=True)
    head = "| told | " + " | ".join(f"`{name}` rate | time" for name in rows) + " |"
    lines = [
        f"## What telling costs ({SONGS:,} songs, one connection on one processor)",
        "",
        "Requests a second, and processor time of a request, as ratios to a server that tells nothing ("
        + ", ".join(f"`{name}`: {statistics.median(bare[name]):.1f} us" for name in rows)
        + "):",
        "",
        head,
        "|---" + "|--:|--:" * len(rows) + "|",
    ]
    for kind in KINDS:
        cells = []
        for name in rows:
            rate, spent = (statistics.median(values) for values in zip(*ratios[kind, name]))
            cells += [f"{rate:.2f}", f"{spent:.2f}"]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return [*lines, ""]
