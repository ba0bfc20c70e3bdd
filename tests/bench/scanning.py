"""`--scan`: what scans cost, beside MPD and `find` in the same run."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prepare import run, say
from scan_database import Cluster
from servers import ROOT, TARGET, WORK, Failure

SCAN = TARGET / "release" / "avalon-scan"
HERE = Path(__file__).resolve().parent
# what music.py makes: files of each kind, seconds, KB of a cover, seed
TREES = {"m3k": (1000, 62, 150, 1), "m30k": (10000, 1, 8, 2), "m300": (100, 10, 150, 3)}
LATENCY_MS = 2
HEAD = ["| work | ours s | MPD s | find + stat s | ours: peak MB | read from disk MB |", "|---|--:|--:|--:|--:|--:|"]
# A process that forks one that is measured, and is small itself: the kernel counts its memory in.
LAUNCH = """
import resource, subprocess, sys, time
begun = time.monotonic()
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.monotonic() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_maxrss * 1024, used.ru_inblock * 512, ended.returncode)
sys.exit(ended.stderr.decode(errors="replace") if ended.returncode else 0)
"""


@dataclass
class Cost:
    seconds: float
    peak: int  # bytes of memory
    read: int  # bytes from disks


def cost(*command):
    launched = [sys.executable, "-S", "-E", "-c", LAUNCH, *map(str, command)]
    done = subprocess.run(launched, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr}")
    seconds, peak, read, _ = done.stdout.split()
    return Cost(float(seconds), int(peak), int(read))


def python():
    """A Python with mutagen and fusepy, from PyPI."""
    folder = WORK / "scan-python"
    if not (folder / "ready").exists():
        say("installing mutagen and fusepy from PyPI")
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "mutagen==1.47.0", "fusepy==3.0.1")
        (folder / "ready").touch()
    return folder / "bin" / "python"


def tree(name):
    """The folder of a tree, made unless it is there; it may be a link."""
    folder = WORK / "trees" / name
    if not folder.exists():
        say(f"making {name}")
        new = folder.with_name(f"{name}.new")
        shutil.rmtree(new, ignore_errors=True)
        run(python(), HERE / "music.py", new, *TREES[name])
        new.rename(folder)
        # so that the stamps of its files are old enough to be believed
        time.sleep(3)
    return folder.resolve()


class Mpd:
    """MPD over one tree."""

    def __init__(self, folder):
        home = WORK / "mpd"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.address = home / "socket"
        settings = home / "mpd.conf"
        settings.write_text(
            f'music_directory "{folder}"\ndb_file "{home}/database"\nlog_file "{home}/log"\n'
            f'bind_to_address "{self.address}"\naudio_output {{\n type "null"\n name "none"\n}}\n'
        )
        self.process = subprocess.Popen(["mpd", "--no-daemon", str(settings)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self.address.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"MPD does not start; {home}/log says why")
            time.sleep(0.01)

    def seconds(self, command):
        """How long `update` or `rescan` takes."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.address))
            answers = client.makefile("rb")
            answers.readline()
            begun = time.monotonic()
            client.sendall(command.encode() + b"\n")
            while self.is_busy(client, answers):
                time.sleep(0.001)
            return time.monotonic() - begun

    @staticmethod
    def is_busy(client, answers):
        client.sendall(b"status\n")
        busy, ends = False, 0
        while ends < 1:
            line = answers.readline()
            if not line or line.startswith(b"ACK"):
                raise Failure(f"MPD says {line!r}")
            # the first OK may be that of the command before
            busy |= line.startswith(b"updating_db")
            ends += line == b"OK\n"
        return busy

    def stop(self):
        self.process.terminate()
        self.process.wait()


def forget_files():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    cost(SCAN, "--version")


def find_stat(folder):
    return cost("find", folder, "-type", "f", "-printf", "%s %T@ %C@ %i\\n").seconds


class Table:
    """Rows of costs by round; what is shown are medians."""

    def __init__(self):
        self.rows = {}

    def add(self, work, ours, mpd=None, find=None):
        self.rows.setdefault(work, []).append((ours, mpd, find))

    def lines(self):
        return HEAD + [self.line(work, rounds) for work, rounds in self.rows.items()]

    @staticmethod
    def line(work, rounds):
        ours = [cost for cost, _, _ in rounds]
        median = lambda numbers, form: format(statistics.median(numbers), form)
        peer = lambda index: median([one[index] for one in rounds], ".3f") if rounds[0][index] is not None else ""
        read = statistics.median(one.read for one in ours) / 1e6
        return (
            f"| {work} | {median([one.seconds for one in ours], '.3f')} | {peer(1)} | {peer(2)}"
            f" | {median([one.peak / 1e6 for one in ours], '.0f')} | {f'{read:.0f}' if read >= 0.5 else ''} |"
        )


def scan(url, *arguments):
    return cost(SCAN, "-q", "-d", url, *arguments)


def new_file():
    """The URL of a SQLite file that is not there."""
    path = WORK / "scan.sqlite"
    path.unlink(missing_ok=True)
    return f"sqlite:///{path}"


def local(name, options, table):
    """Warm and, for root, cold."""
    folder = tree(name)
    kept = WORK / f"scan-{name}.sqlite"
    kept.unlink(missing_ok=True)
    kept_url = f"sqlite:///{kept}"
    mpd = Mpd(folder)
    try:
        mpd.seconds("update")
        scan(kept_url, folder)
        for turn in range(options.rounds):
            say(f"  {name}, warm, round {turn + 1} of {options.rounds}")
            table.add(f"{name} warm, full", scan(new_file(), folder), mpd.seconds("rescan"))
            table.add(f"{name} warm, unchanged", scan(kept_url, folder), mpd.seconds("update"), find_stat(folder))
        album = max(path for path in folder.glob("*/*") if len(list(path.iterdir())) == 12)
        for _ in range(options.rounds):
            table.add(f"{name}, one album by --only, read", scan(kept_url, "--full", "--only", album))
        if os.geteuid() == 0:
            cold(name, folder, kept_url, mpd, options, table)
    finally:
        mpd.stop()


def cold(name, folder, kept_url, mpd, options, table):
    for turn in range(options.rounds):
        say(f"  {name}, cold, round {turn + 1} of {options.rounds}")
        costs = []
        for work in (
            lambda: scan(new_file(), folder),
            lambda: mpd.seconds("rescan"),
            lambda: scan(kept_url, folder),
            lambda: mpd.seconds("update"),
            lambda: find_stat(folder),
        ):
            forget_files()
            costs.append(work())
        full, mpd_full, unchanged, mpd_unchanged, find = costs
        table.add(f"{name} cold, full", full, mpd_full)
        table.add(f"{name} cold, unchanged", unchanged, mpd_unchanged, find)


def on_postgres(name, options, table):
    folder = tree(name)
    written = []
    with Cluster() as cluster:
        for turn in range(options.rounds):
            say(f"  {name}, PostgreSQL, round {turn + 1} of {options.rounds}")
            url = cluster.new_database()
            table.add(f"{name} warm, full, PostgreSQL", scan(url, folder))
            before = cluster.written()
            table.add(f"{name} warm, unchanged, PostgreSQL", scan(url, folder))
            written.append(cluster.written() - before)
    return f"Log (WAL) of PostgreSQL for the unchanged {name}: {statistics.median(written) / 1024:.1f} KiB."


@contextmanager
def slow_mount(source, *options):
    folder = WORK / "slow"
    folder.mkdir(parents=True, exist_ok=True)
    command = [python(), HERE / "slow_mount.py", source, folder, LATENCY_MS, *options]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not os.path.ismount(folder):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure("FUSE cannot be mounted here")
            time.sleep(0.01)
        yield folder
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(folder)], stderr=subprocess.DEVNULL)
        process.wait()


def behind_latency(options, table):
    source = tree("m300")
    for what, mount_options in (("page cache kept", ()), ("direct_io", ("direct_io",))):
        for turn in range(options.rounds):
            say(f"  {LATENCY_MS} ms, {what}, round {turn + 1} of {options.rounds}")
            with slow_mount(source, *mount_options) as folder:
                url = new_file()
                table.add(f"300 files behind {LATENCY_MS} ms, {what}, full", scan(url, folder))
                table.add(f"300 files behind {LATENCY_MS} ms, {what}, unchanged", scan(url, folder))


def scanning(options):
    """All lines of the report."""
    run(ROOT / "scripts" / "install-test-deps", "bench")
    run(*"cargo build --release --bin avalon-scan".split(), cwd=ROOT)
    table = Table()
    for name in ("m3k",) if options.quick else ("m3k", "m30k"):
        local(name, options, table)
    log = on_postgres("m3k" if options.quick else "m30k", options, table)
    behind_latency(options, table)
    return [
        f"Medians of {options.rounds} rounds, each beside its peers. m3k: 3,000 files of a minute, m30k: 30,000 small"
        " ones in 3,300 folders; mp3, ogg and flac. Full: into a new database; MPD: `rescan`, and `update` for"
        " unchanged.",
        "",
        *table.lines(),
        "",
        log,
        "",
    ]
