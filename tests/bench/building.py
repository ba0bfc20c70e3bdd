"""What it costs to make a snapshot: the first one of a start, and that of a reload while workers serve. Processor
time and memory are those of the loader, which does all of it; memory that is anonymous can only be swapped out."""

import os
import signal
import statistics
import threading
import time
from pathlib import Path

from prepare import collection, say
from servers import TARGET, WORK, Failure, Server, free_port

TICKS = os.sysconf("SC_CLK_TCK")
# Seconds between two looks at the loader: it lives for seconds, or tenths of one for the smallest collection.
LOOK = 0.004


def reading(path):
    """The text of a file below /proc; empty for a process that has ended."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


class Loader:
    """Looks at the loader of a server while there is one."""

    def __init__(self, server):
        self.server, self.anonymous, self.seconds = server, 0, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def look(self):
        while not self.over.wait(LOOK):
            for pid in self.server.children():
                if reading(f"/proc/{pid}/cmdline").startswith("avalon: loader"):
                    self.weigh(pid)

    def weigh(self, pid):
        for line in reading(f"/proc/{pid}/status").splitlines():
            if line.startswith("RssAnon:"):
                self.anonymous = max(self.anonymous, int(line.split()[1]) * 1024)
        # Behind the name, which may hold spaces: state is field 3, utime 14, stime 15.
        fields = reading(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 12:
            self.seconds = max(self.seconds, (int(fields[11]) + int(fields[12])) / TICKS)


def await_serving(server, times):
    deadline = time.monotonic() + 900
    while server.log.read_text().count(" serves on ") < times:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"{server.name} does not serve:\n{server.log.read_text()[-2000:]}")
        time.sleep(0.002)


def start(program, database, name, port):
    env = {key: value for key, value in os.environ.items() if not key.startswith("AVALON_")}
    env |= {
        "AVALON_DATABASE_URL": f"sqlite:///{database}",
        "AVALON_BIND": f"127.0.0.1:{port}",
        "AVALON_CONTROL": str(WORK / f"{name}.socket"),
        "TMPDIR": str(WORK),
    }
    return Server(name, [program, "--workers", "2"], port, env)


def measure(program, database, name):
    """(seconds, the loader's processor seconds, its peak of anonymous bytes) of a start, and of a reload."""
    begin = time.monotonic()
    server = start(program, database, name, free_port())
    measured = []
    try:
        for generation in (1, 2):
            with Loader(server) as loader:
                if generation == 2:
                    begin = time.monotonic()
                    server.process.send_signal(signal.SIGHUP)
                await_serving(server, generation)
                seconds = time.monotonic() - begin
            measured.append((seconds, loader.seconds, loader.anonymous))
    finally:
        server.stop()
    return measured


def building(options):
    """The lines on all sizes, beside another build where one is named."""
    programs = {"ours": TARGET / "release" / "avalon-master"}
    if options.against:
        programs["other"] = options.against.resolve()
    lines = [
        "| songs | | program | seconds | processor s | anonymous MB | bytes per song |",
        "|--:|---|---|--:|--:|--:|--:|",
    ]
    for songs in options.songs:
        database = collection(songs)
        rounds = {name: [] for name in programs}
        for turn in range(options.rounds):
            for name in sorted(programs, reverse=turn % 2 == 1):
                say(f"  {songs:,} songs, {name}")
                rounds[name].append(measure(programs[name], database, f"building-{name}"))
        for at, what in enumerate(("start", "reload")):
            for name, measured in rounds.items():
                seconds, spent, memory = (statistics.median(values) for values in zip(*(round[at] for round in measured)))
                cells = f"{seconds:.2f} | {spent:.2f} | {memory / 1e6:.0f} | {memory / songs:.0f}"
                lines.append(f"| {songs:,} | {what} | {name} | {cells} |")
    return [*lines, ""]
