"""--words: several words in any order (`words=`) beside the same words as they stand (`query=`)."""

import re
import socket
import statistics
import time

from prepare import collection, say
from servers import Failure, start_ours

# Of tests/bench/words.txt: frequent together, frequent and apart, and by genres alone.
PAIRS = [
    "the+love", "love+night", "night+blue", "satellite+umbrella", "die+heart", "nacht+day", "amor+one", "love+und",
    "rock+liebe", "rock+jazz", "alternative+neo", "techno+der",
]
REQUESTS = 1000


class Client:
    """One connection; quicker than http.client, whose own time would hide what is measured."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def milliseconds(self, query):
        """The time of a request."""
        request = f"GET /avalon/songs?{query}&limit=20 HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        begin = time.perf_counter()
        self.socket.sendall(request)
        answer = self.socket.recv(1 << 16)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or not length:
            raise Failure(f"{query}: {head.decode(errors='replace')}")
        rest = int(length[1]) - len(body)
        while rest > 0:
            rest -= len(self.socket.recv(rest))
        return (time.perf_counter() - begin) * 1e3


def several(options):
    """The lines of the table."""
    lines = [
        f"Milliseconds of a request with `limit=20` on one connection, {REQUESTS} of each in turn, one worker.",
        "",
        "| songs | words | `words=` p50 | p99 | `query=` p50 | p99 | p50 ratio | p99 ratio |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for songs in options.songs:
        say(f"{songs} songs")
        server, _ = start_ours(collection(songs), 1)
        try:
            client, sums = Client(server.port), ([], [])
            for words in PAIRS:
                times = ([], [])
                for _ in range(REQUESTS):
                    for which, parameter in enumerate(("words", "query")):
                        times[which].append(client.milliseconds(f"{parameter}={words}"))
                lines.append(row(songs, words.replace("+", " "), times))
                for which in (0, 1):
                    sums[which].extend(times[which])
            lines.append(row(songs, "all of these", sums))
        finally:
            server.stop()
    return lines


def row(songs, name, times):
    """A line of the table."""
    figures = [figure for each in times for figure in (statistics.median(each), sorted(each)[len(each) * 99 // 100])]
    words_p50, words_p99, query_p50, query_p99 = figures
    cells = [f"{figure:.2f}" for figure in [*figures, words_p50 / query_p50, words_p99 / query_p99]]
    return f"| {songs:,} | {name} | " + " | ".join(cells) + " |"
