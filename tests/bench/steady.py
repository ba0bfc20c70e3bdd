"""A steady load: latencies before a reload and while it goes on."""

import http.client
import statistics
import time

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


def reload(server, workers, path, rounds, seconds, begin):
    """Medians of (p99 before, p99 during a reload, seconds of a reload), and retried requests.

    `begin` gets the number of the round, changes rows, and sees to it that a reload begins."""
    client = Steady(server.port, path)
    figures = []
    try:
        for number in range(1, rounds + 1):
            end = time.monotonic() + seconds
            before = client.go(lambda: time.monotonic() > end)
            begun, served = told(server, "making generation"), told(server, " serves on ")
            begin(number)
            deadline = time.monotonic() + 120
            client.go(lambda: told(server, "making generation") > begun or late(server, deadline))
            start = time.monotonic()
            during = client.go(lambda: drained(server, workers, served, deadline))
            figures.append((p99(before), p99(during), time.monotonic() - start))
    finally:
        client.close()
    return [statistics.median(column) for column in zip(*figures)], client.retries


def told(server, text):
    """How often the log says so."""
    return server.log.read_text(errors="replace").count(text)


def drained(server, workers, served, deadline):
    """Whether a generation has come since, and only its workers are left."""
    late(server, deadline)
    return told(server, " serves on ") > served and len(server.workers()) == workers


def late(server, deadline):
    if time.monotonic() > deadline:
        raise Failure(f"{server.name} did not reload within 120 s; see {server.log}")
