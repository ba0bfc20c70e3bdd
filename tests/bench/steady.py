"""A reload of ten changed songs under a steady load: latencies before it and while it goes on."""

import http.client
import signal
import sqlite3
import statistics
import time
from contextlib import closing, contextmanager

from servers import Failure

RATE = 400  # requests a second, on CONNECTIONS that are kept
CONNECTIONS = 8


class Steady:
    """Asks at a fixed pace, whether answers come or not: a latency counts from the moment at
    which its request was due, so that those that wait behind a slow one are seen."""

    def __init__(self, port, path):
        self.path, self.retries = path, 0
        connect = lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connections = [connect() for _ in range(CONNECTIONS)]

    def ask(self, connection):
        try:
            connection.request("GET", self.path)
            response = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # a kept connection may be closed between two requests at any time
            self.retries += 1
            connection.close()
            connection.request("GET", self.path)
            response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise Failure(f"{self.path}: status {response.status} during a reload")

    def go(self, until):
        """Latencies in milliseconds, until `until` says so."""
        latencies = []
        begin = time.perf_counter()
        while not until():
            due = begin + len(latencies) / RATE
            time.sleep(max(0, due - time.perf_counter()))
            self.ask(self.connections[len(latencies) % CONNECTIONS])
            latencies.append((time.perf_counter() - due) * 1e3)
        return latencies

    def close(self):
        for connection in self.connections:
            connection.close()


def p99(latencies):
    return statistics.quantiles(latencies, n=100)[98]


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


def reload(server, workers, path, rounds, seconds, database):
    """Medians of (p99 before, p99 during a reload, seconds of a reload), and retried requests."""
    client = Steady(server.port, path)
    figures = []
    try:
        with changing(database) as change:
            for number in range(1, rounds + 1):
                end = time.monotonic() + seconds
                before = client.go(lambda: time.monotonic() > end)
                change(number)
                made = generations(server)
                begin = time.monotonic()
                server.process.send_signal(signal.SIGHUP)
                during = client.go(lambda: drained(server, workers, made, begin))
                figures.append((p99(before), p99(during), time.monotonic() - begin))
    finally:
        client.close()
    return [statistics.median(column) for column in zip(*figures)], client.retries


def generations(server):
    """How many the log says have come to serve."""
    return server.log.read_text(errors="replace").count(" serves on ")


def drained(server, workers, made, begin):
    """Whether a generation has come since, and only its workers are left."""
    if time.monotonic() > begin + 120:
        raise Failure(f"{server.name} did not reload within 120 s; see {server.log}")
    return generations(server) > made and len(server.children()) == workers
