"""What publishing and fetching a snapshot cost, for a folder and for S3 (SeaweedFS), and the memory beside mappings.

The limits are those of docs/machines.md: a node's processes have at most 64 MB of anonymous memory each beside the
snapshot, and its loader takes at most 1.5 s of processor time for a million songs.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from prepare import collection
from servers import ROOT, TARGET, WORK, Failure, Server, free_port

MEMORY_MAX = 64 << 20
LOADER_SECONDS_PER_MILLION = 1.5
WEED = ROOT / "target" / "peers" / "python-tools" / "bin" / "weed"
KEYS = """{"identities": [{"name": "bench", "credentials": [{"accessKey": "bench", "secretKey": "bench"}],
    "actions": ["Admin", "Read", "Write", "List"]}]}"""


class Watch(threading.Thread):
    """Looks at a master and its loaders until it is told to end: peaks of memory, and processor time."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over = server, threading.Event()
        self.master = self.loader = 0
        self.seconds = {}

    def run(self):
        while not self.over.wait(0.002):
            self.master = max(self.master, anonymous(self.server.process.pid))
            for pid in self.server.children():
                try:
                    is_loader = Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"avalon: loader")
                    times = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
                except OSError:
                    continue  # it has ended since
                if is_loader:
                    self.loader = max(self.loader, anonymous(pid))
                    took = sum(int(text.split()[0]) for text in times) / 1e9
                    self.seconds[pid] = max(took, self.seconds.get(pid, 0))


def anonymous(pid):
    """Bytes of memory that are of no file: no snapshot and no program."""
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@contextmanager
def folder_store(folder):
    (folder / "store").mkdir()
    yield f"file://{folder}/store"


@contextmanager
def object_store(folder):
    """SeaweedFS on free ports of loopback."""
    (folder / "keys.json").write_text(KEYS)
    (folder / "seaweed").mkdir()
    port = free_port()
    command = [WEED, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=20"]
    command += ["-master.volumeSizeLimitMB=256", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={port}"]
    command += [f"-s3.config={folder / 'keys.json'}", f"-dir={folder / 'seaweed'}"]
    for name in ["master", "volume", "filer"]:
        command += [f"-{name}.port={free_port()}", f"-{name}.port.grpc={free_port()}"]
    command.append(f"-s3.port.grpc={free_port()}")
    store = Server("seaweed", command, port, env={**os.environ, "HOME": str(folder)})
    address = f"http://127.0.0.1:{port}"
    try:
        signed = ["curl", "-sS", "-f", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "bench:bench"]
        for _ in range(300):
            if subprocess.run([*signed, f"{address}/music"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise Failure(f"SeaweedFS does not start; see {store.log}")
        yield f"s3://bench:bench@music?endpoint={address}&region=us-east-1"
    finally:
        store.stop()


def timed(*command, env):
    begin = time.monotonic()
    done = subprocess.run([str(part) for part in command], env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{command[0]} ended with exit code {done.returncode}: {done.stderr}")
    return time.monotonic() - begin, done.stdout


def publish(url, database):
    """Seconds, and the bytes of the object."""
    env = {"AVALON_DATABASE_URL": f"sqlite:///{database}", "AVALON_SNAPSHOT_URL": url}
    took, text = timed(TARGET / "release" / "avalonctl", "publish", "--from-database", env=env)
    return took, int(re.search(r"compressed=(\d+)", text)[1])


def measure(url, databases, folder):
    """One round: publish, start a node, publish other rows, reload it."""
    took, size = publish(url, databases[0])
    port, control = free_port(), folder / "control"
    command = [TARGET / "release" / "avalon-master", f"--bind=127.0.0.1:{port}", "--workers=1"]
    env = {"PATH": os.environ["PATH"], "AVALON_SNAPSHOT_URL": url, "AVALON_CONTROL": str(control)}
    begin = time.monotonic()
    node = Server("node", command, port, env=env)
    watch = Watch(node)
    try:
        watch.start()
        node.await_heartbeat()
        start = time.monotonic() - begin
        fetched = float(re.search(r"snapshot fetched .*seconds=([0-9.]+)", node.log.read_text())[1])
        publish(url, databases[1])
        reload, _ = timed(TARGET / "release" / "avalonctl", "--socket", control, "reload", "--wait", env={})
    finally:
        watch.over.set()
        watch.join()
        node.stop()
    publish_back = (took, size, fetched, start, reload)
    return (*publish_back, max(watch.seconds.values(), default=0), watch.loader, watch.master)


def other_rows(database, folder):
    """The same collection with one song of another name."""
    copy = folder / "other.sqlite"
    shutil.copyfile(database, copy)
    with sqlite3.connect(copy) as rows:
        rows.execute("UPDATE tracks SET name = 'another name' WHERE id = (SELECT min(id) FROM tracks)")
    return copy


def median(values):
    return sorted(values)[len(values) // 2]


def publishing(options):
    """The lines of all sizes and stores."""
    head = "| songs | store | publish | object | fetch + verify + map | start to first answer | reload --wait "
    head += "| loader: processor | loader: anonymous | master: anonymous |"
    lines = [head, "|--:|---|" + "--:|" * 8]
    faults = []
    for songs in options.songs:
        stores = {"folder": folder_store, "S3 (SeaweedFS)": object_store}
        if not WEED.exists():
            del stores["S3 (SeaweedFS)"]
            faults.append(f"no S3: {WEED} is missing (scripts/install-test-deps)")
        for name, store in stores.items():
            rounds = []
            for _ in range(options.rounds):
                # Each round begins with an empty store.
                with tempfile.TemporaryDirectory(dir=WORK) as folder, store(Path(folder)) as url:
                    database = collection(songs)
                    rounds.append(measure(url, [database, other_rows(database, Path(folder))], Path(folder)))
            took, size, fetched, start, reload, loader, loader_memory, memory = map(median, zip(*rounds))
            lines.append(
                f"| {songs:,} | {name} | {took:.1f} s | {size / 1e6:.0f} MB | {fetched:.2f} s | {start:.2f} s "
                f"| {reload:.2f} s | {loader:.2f} s | {loader_memory / 1e6:.1f} MB | {memory / 1e6:.1f} MB |"
            )
            if max(loader_memory, memory) > MEMORY_MAX:
                faults.append(f"{songs:,} songs, {name}: more than {MEMORY_MAX >> 20} MB of anonymous memory")
            if loader > LOADER_SECONDS_PER_MILLION * max(songs, 100_000) / 1e6:
                faults.append(f"{songs:,} songs, {name}: the loader took more processor time than its limit")
    limits = f"limits: {MEMORY_MAX >> 20} MB, {LOADER_SECONDS_PER_MILLION} s of the loader per million songs"
    return [*lines, "", f"Medians of {options.rounds} rounds; {limits}.", *faults, ""]
