"""What compression saves: bytes, and the time to the last byte over a link of 1 Gbit/s."""

import gzip
import http.client
import statistics
import time

from prepare import say
from servers import Failure

LINK = 125_000_000  # bytes a second
CODINGS = ("identity", "gzip", "zstd")
HEAD = [
    "| request | coding | bytes | of identity | last byte ms | over 1 Gbit/s ms |",
    "|---|---|--:|--:|--:|--:|",
]


def get(port, path, coding):
    """The coding of the answer, its bytes, and the seconds until they were there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.connect()
        begin = time.perf_counter()
        connection.request("GET", path, headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        body = response.read()
        return response.getheader("Content-Encoding", "identity"), body, time.perf_counter() - begin
    finally:
        connection.close()


def report(server, paths, rounds):
    """A line per whole list and coding that the server knows.

    The link is not simulated but computed: answers are sent while they are compressed, so the
    last byte comes when the slower of the server and the link is done.
    """
    say("  compression")
    lines = []
    for path in paths:
        sizes, seconds = {}, {coding: [] for coding in CODINGS}
        plain = None
        for _ in range(rounds):
            for coding in CODINGS:
                got, body, took = get(server.port, f"/avalon/{path}", coding)
                if got != coding:
                    continue
                plain = body if coding == "identity" else plain
                if coding == "gzip" and coding not in sizes and gzip.decompress(body) != plain:
                    raise Failure(f"{path}: gzip holds something else than the plain answer")
                sizes[coding] = len(body)
                seconds[coding].append(took)
        for coding in sizes if len(sizes) > 1 else ():
            took, share = statistics.median(seconds[coding]), sizes[coding] / sizes["identity"]
            last = max(took, sizes[coding] / LINK)
            lines.append(
                f"| `{path}` | {coding} | {sizes[coding]:,} | {share:.3f} | {took * 1e3:,.1f} | {last * 1e3:,.1f} |"
            )
    return [*HEAD, *lines] if lines else ["The server compresses nothing."]
