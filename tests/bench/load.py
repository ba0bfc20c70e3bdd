"""Loads: wrk against the servers in turn, round after round."""

import re
import subprocess
from dataclasses import dataclass

from prepare import say
from rows import check_peer
from servers import Failure

CONNECTIONS = 8
HEAVY_BYTES = 1_000_000  # answers from here on are measured for half the time


@dataclass
class Load:
    """What wrk said. Latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def drive(wrk, server, path, headers, seconds, connections=CONNECTIONS):
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s"]
    for key, value in headers.items():
        command += ["-H", f"{key}: {value}"]
    command.append(f"http://127.0.0.1:{server.port}{path}")
    text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60).stdout
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    if not rate or "Non-2xx" in text or "Socket errors" in text:
        raise Failure(f"wrk against {server.name}, {path}:\n{text}")
    if float(rate[1]) == 0:
        raise Failure(f"{server.name} answered no {path} within {seconds} s; take more --seconds")
    return Load(float(rate[1]), latency(text, 50), latency(text, 99))


def latency(text, per_cent):
    number, unit = re.search(rf"^\s+{per_cent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def measure(wrk, servers, rows, rounds, seconds):
    """{(row name, server name): loads by round}; the order of servers turns each round."""
    loads = {(row.name, server.name): [] for row in rows for server in servers}
    tags = {(row.name, server.name): check_peer(row, server) for row in rows for server in servers[1:]}
    for turn in range(rounds):
        say(f"  round {turn + 1} of {rounds}")
        order = servers[turn % len(servers):] + servers[: turn % len(servers)]
        for row in rows:
            for server in order:
                ours = server is servers[0]
                headers = dict(row.headers)
                if row.conditional:
                    headers["If-None-Match"] = row.etag if ours else tags[row.name, server.name]
                path = f"/avalon/{row.path}" if ours else row.peer_path
                load = drive(wrk, server, path, headers, row_seconds(row, seconds))
                loads[row.name, server.name].append(load)
    return loads


def row_seconds(row, seconds):
    """Large answers for half the time, but long enough for some of each connection's to end."""
    if len(row.body) < HEAVY_BYTES:
        return seconds
    return max(1, seconds // 2, len(row.body) // 20_000_000)
