"""`--against`: this build of avalon-master beside another one in the same run."""

import statistics

from load import CONNECTIONS, drive, row_seconds
from prepare import collection, say
from rows import requests, take_answer
from servers import Failure, fetch, start_ours
from tables import cost, rate


def measure(wrk, ours, other, row, seconds, rounds):
    """(ours, other) by round: the load of all connections, and processor time of one on one processor."""
    pairs = []
    for turn in range(rounds):
        measured = {}
        for server in (ours, other) if turn % 2 == 0 else (other, ours):
            load = drive(wrk, server, row.paths, row.request_headers(), row_seconds(row, seconds))
            with server.on_one_processor():
                before = server.worker_time()
                alone = drive(wrk, server, row.paths, row.request_headers(), max(1, seconds // 2), 1)
                spent = (server.worker_time() - before) * 1e6 / alone.requests
            measured[server] = (load, (alone, spent))
        pairs.append((measured[ours], measured[other]))
    return pairs


def line(row, pairs):
    ratio = statistics.median(our.rate / its.rate for (our, _), (its, _) in pairs)
    rates = [statistics.median(load.rate for load, _ in side) for side in zip(*pairs)]
    costs = [cost([alone for _, alone in side]) for side in zip(*pairs)]
    cells = [rate(number) for number in rates] + [f"{ratio:.2f}"] + [f"{number:,.0f}" for number in costs]
    return f"| `{row.name}` | {' | '.join([*cells, f'{costs[0] / costs[1]:.2f}'])} |"


def compare(songs, program, options, wrk):
    """The lines on one size."""
    database = collection(songs)
    rows = requests(database, songs)
    ours, _ = start_ours(database, options.workers)
    servers = [ours]
    try:
        other, _ = start_ours(database, options.workers, program, "other")
        servers.append(other)
        ratios = []
        say(f"{songs:,} songs, against {program}")
        for row in rows:
            take_answer(row, ours.port)
            if any(fetch(other.port, path)[1] != fetch(ours.port, path)[1] for path in row.paths):
                raise Failure(f"{program} answers {row.name} otherwise")
            say(f"  {row.name}")
            ratios.append(line(row, measure(wrk, ours, other, row, options.seconds, options.rounds)))
    finally:
        for server in servers:
            server.stop()
    return [
        f"## {songs:,} songs, {options.workers} workers, {CONNECTIONS} connections, against {program}",
        "",
        "| request | req/s | other req/s | ratio | processor us | other us | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *ratios,
        "",
    ]
