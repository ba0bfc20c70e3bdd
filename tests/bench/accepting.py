"""How connections get to workers: ours and bare hyper with a thread that blocks in accept,
against hyper as tokio accepts by default, where each connection wakes all processes.
"""

import http.client
import re
import statistics
import time
from pathlib import Path

from load import drive
from prepare import collection, say
from servers import WORK, start_hyper, start_ours

KEPT = 200  # connections that are opened and kept, at PACE a second
PACE = 100


def sockets(pid):
    """How many sockets a process has open."""
    links = (link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir())
    return sum(str(link).startswith("socket:") for link in links)


def switches(pid):
    """How often its threads have waited for something."""
    texts = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]) for text in texts)


def balance(server):
    """Opens connections to an idle server: the most and the fewest that a worker got, and how
    often all workers together woke up per connection, beyond what they do at rest."""
    workers = server.children()
    rest = sum(map(switches, workers))
    time.sleep(KEPT / PACE)
    rest = sum(map(switches, workers)) - rest
    before, woken = [sockets(pid) for pid in workers], sum(map(switches, workers))
    connections = []
    begin = time.monotonic()
    for at in range(KEPT):
        time.sleep(max(0, begin + at / PACE - time.monotonic()))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.connect()
        connections.append(connection)
    woken = sum(map(switches, workers)) - woken - rest
    for connection in connections:  # so that each is accepted when they are counted
        connection.request("GET", "/avalon/heartbeat")
        connection.getresponse().read()
    shares = [sockets(pid) - had for pid, had in zip(workers, before)]
    for connection in connections:
        connection.close()
    return max(shares), min(shares), woken / KEPT


def report(processes, servers, drive, rounds, seconds):
    """The lines of the table for so many processes; `drive` measures a load."""
    rates = {(server.name, load): [] for server in servers for load in LOADS}
    for turn in range(rounds):
        order = servers[turn % len(servers):] + servers[: turn % len(servers)]
        for load, (connections, headers) in LOADS.items():
            for server in order:
                rates[server.name, load].append(drive(server, connections, headers, seconds))
    reference = servers[-1].name
    lines = []
    for server in servers:
        most, fewest, woken = balance(server)
        cells = []
        for load in LOADS:
            ratio = (ours.rate / its.rate for ours, its in zip(rates[server.name, load], rates[reference, load]))
            p99 = statistics.median(load.p99 for load in rates[server.name, load])
            cells.append(f"{statistics.median(ratio):.2f} | {p99:.1f}")
        lines.append(f"| {processes} | {server.name} | {' | '.join(cells)} | {most}/{fewest} | {woken:.1f} |")
    return lines


# load: connections at a time, request headers
LOADS = {"keep-alive": (64, {}), "a connection per request": (16, {"Connection": "close"})}

HEAD = [
    "| processes | server | keep-alive, req/s over epoll's | p99 ms | a connection per request, req/s over epoll's"
    " | p99 ms | most/fewest of 200 | wake-ups per connection |",
    "|--:|---|--:|--:|--:|--:|--:|--:|",
]


def accepting(options, wrk):
    """All lines of the report on how connections get to workers."""
    database = collection(10_000)
    folder = WORK / "answers-accepting"
    (folder / "avalon").mkdir(parents=True, exist_ok=True)
    (folder / "avalon" / "heartbeat").write_text("OKOKOK")
    lines = ["## Accepting", "", *HEAD]
    heartbeat = lambda server, connections, headers, seconds: drive(
        wrk, server, ["/avalon/heartbeat"], headers, seconds, connections
    )
    for processes in (3, 8):
        say(f"accepting with {processes} processes")
        servers = []
        try:
            servers.append(start_ours(database, processes)[0])
            servers += [start_hyper(folder, processes, how) for how in ("thread", "epoll")]
            lines += report(processes, servers, heartbeat, options.rounds, options.seconds)
        finally:
            for server in servers:
                server.stop()
    return [*lines, ""]
