#!/usr/bin/env python3
"""Do long answers hold up short ones? One worker, ten clients that download the whole list
slowly, ten that ask the heaviest questions one after the other, compressed or not; beside them
selective queries on one connection, whose latencies are told with and without that load.

    tests/bench/starvation.py [--songs N] [--seconds N]     (after scripts/bench has built)
"""

import argparse
import http.client
import multiprocessing
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
from prepare import collection  # noqa: E402
from servers import Failure, start_ours  # noqa: E402

SLOW_BYTES_PER_SECOND = 1_000_000
HEAVY = [
    ("songs?query=t", {}),
    ("songs?query=t&order=year", {}),
    ("songs?order=name&direction=desc", {}),
    ("songs?query=t&order=length&limit=20&offset=20000", {}),
    ("songs", {"Accept-Encoding": "gzip"}),
    ("songs?query=the", {"Accept-Encoding": "zstd"}),
]


def slow(port, stop):
    """Reads the whole list in small bites, again and again."""
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            client.sendall(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while not stop.is_set() and client.recv(SLOW_BYTES_PER_SECOND // 50):
                time.sleep(0.02)


def heavy(port, stop, at, done):
    """Asks heavy questions and reads the answers as quickly as they come."""
    while not stop.is_set():
        path, headers = HEAVY[at % len(HEAVY)]
        at += 1
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/avalon/{path}", headers=headers)
        response = connection.getresponse()
        while not stop.is_set() and response.read(1 << 20):
            pass
        connection.close()
        with done.get_lock():
            done.value += 1


def selective(port, seconds):
    """Milliseconds of each of the queries that one connection gets answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        connection.request("GET", "/avalon/songs?query=xylographica")
        response = connection.getresponse()
        response.read()
        times.append((time.perf_counter() - begin) * 1e3)
        if response.status != 200:
            raise Failure(f"status {response.status}")
        time.sleep(0.005)
    return sorted(times)


def shown(name, times):
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"{name}: {len(times)} queries, p50 {at(0.5):.2f} ms, p99 {at(0.99):.2f} ms, max {times[-1]:.2f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    database = collection(options.songs)
    server, _ = start_ours(database, 1)
    # Processes, or the clients would hold each other up.
    stop, done = multiprocessing.Event(), multiprocessing.Value("i", 0)
    clients = [multiprocessing.Process(target=slow, args=(server.port, stop)) for _ in range(10)]
    clients += [multiprocessing.Process(target=heavy, args=(server.port, stop, at, done)) for at in range(10)]
    try:
        shown("alone", selective(server.port, options.seconds))
        for client in clients:
            client.daemon = True
            client.start()
        time.sleep(1)
        shown("beside ten slow downloads and ten heavy clients", selective(server.port, options.seconds))
        print(f"{done.value} heavy answers meanwhile")
    finally:
        stop.set()
        server.stop()


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"starvation: {failure}")
