"""One size of collection: ours, bare hyper and nginx in one run, start times and memory."""

import statistics

from load import CONNECTIONS, measure, row_seconds
from prepare import collection, say
from rows import check_conditional, requests, save_answers, take_answer
from servers import start_hyper, start_nginx, start_ours
from tables import memory_table, table, told


def bench(songs, options, wrk, nginx):
    """All lines of the report on one size."""
    database = collection(songs)
    rows = requests(database, songs)
    starts = [start_time(database, options.workers) for _ in range(options.rounds - 1)]
    ours, seconds, peak = start_ours(database, options.workers)
    servers = [ours]
    try:
        before = ours.memory()
        for row in rows:
            take_answer(row, ours.port)
            if row.conditional:
                check_conditional(row, ours.port)
        folder = save_answers(songs, rows)
        servers += [start_hyper(folder, options.workers), start_nginx(nginx, folder, options.workers)]
        total = options.rounds * len(servers) * sum(row_seconds(row, options.seconds) + 0.2 for row in rows)
        say(f"{songs:,} songs: about {total / 60:.0f} minutes")
        loads = measure(wrk, servers, rows, options.rounds, options.seconds)
        after = ours.memory()
        peers = {server.name: sum(pss for pss, _ in server.memory()) for server in servers[1:]}
        log = ours.log.read_text(errors="replace")
    finally:
        for server in servers:
            server.stop()
    start = statistics.median([*starts, seconds])
    return [
        f"## {songs:,} songs, {options.workers} workers, {CONNECTIONS} connections",
        "",
        *table(rows, loads),
        "",
        f"Start to first answer: {start:.3f} s" + told(log, peak, songs) + ".",
        "",
        *memory_table(before, after),
        "",
        "Peers after the load: " + ", ".join(f"{name} {pss / 1e6:.1f} MB PSS" for name, pss in peers.items()),
        "",
    ]


def start_time(database, workers):
    server, seconds, _ = start_ours(database, workers)
    server.stop()
    return seconds
