"""Loads: wrk against the servers in turn, round after round."""

import json
import re
import subprocess
from dataclasses import dataclass

from prepare import say
from rows import check_peer
from servers import WORK, Failure

CONNECTIONS = 8
HEAVY_BYTES = 1_000_000  # answers from here on are measured for half the time


@dataclass
class Load:
    """What wrk said. Latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    requests: int


def drive(wrk, server, paths, headers, seconds, connections=CONNECTIONS):
    """Loads a server with requests for the paths in turn."""
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s"]
    for key, value in headers.items():
        command += ["-H", f"{key}: {value}"]
    if len(paths) > 1:
        command += ["-s", take_turns(paths)]
    path = paths[0]
    command.append(f"http://127.0.0.1:{server.port}{path}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    text = done.stdout + done.stderr
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)
    if not rate or "Non-2xx" in text or "Socket errors" in text:
        raise Failure(f"wrk against {server.name}, {path}:\n{text}")
    if float(rate[1]) == 0:
        raise Failure(f"{server.name} answered no {path} within {seconds} s; take more --seconds")
    count = int(re.search(r"^\s+(\d+) requests in", text, re.M)[1])
    return Load(float(rate[1]), latency(text, 50), latency(text, 99), count)


def take_turns(paths):
    """A script for wrk that makes all requests beforehand, as wrk does with a single one."""
    script = WORK / "paths.lua"
    listed = ", ".join(json.dumps(path) for path in paths)
    script.write_text(f"""
local paths, requests, at = {{{listed}}}, {{}}, 0
function init(arguments)
    for number, path in ipairs(paths) do requests[number] = wrk.format("GET", path) end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
""")
    return script


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
                headers = row.request_headers(None if ours else tags[row.name, server.name])
                paths = row.paths if ours else [row.peer_path]
                load = drive(wrk, server, paths, headers, row_seconds(row, seconds))
                loads[row.name, server.name].append(load)
    return loads


def measure_alone(wrk, server, rows, rounds, seconds):
    """{row name: (load, microseconds of processor time per request) by round} of ours, with a
    single connection on a single processor: nothing waits for anything but its own answer."""
    loads = {row.name: [] for row in rows}
    for turn in range(rounds):
        say(f"  alone, round {turn + 1} of {rounds}")
        for row in rows:
            with server.on_one_processor():
                before = server.worker_time()
                load = drive(wrk, server, row.paths, row.request_headers(), max(1, seconds // 2), 1)
                spent = server.worker_time() - before
            loads[row.name].append((load, spent * 1e6 / load.requests))
    return loads


def row_seconds(row, seconds):
    """Large answers for half the time, but long enough for some of each connection's to end."""
    if len(row.body) < HEAVY_BYTES:
        return seconds
    return max(1, seconds // 2, len(row.body) // 20_000_000)
