"""Time and memory of servers and of programs that make their indexes, of whatever kind they are."""

import re
import subprocess
import threading
import time
from pathlib import Path

from building import LOOK, reading
from servers import Failure


def await_true(condition, server, seconds=900):
    deadline = time.monotonic() + seconds
    while not condition():
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"{server.name} does not get on:\n{server.log.read_text()[-2000:]}")
        time.sleep(0.002)


def processes(pid):
    """The process and all below it."""
    below = [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in reading(task).split()]
    return [pid, *(found for child in below for found in processes(int(child)))]


def processor_seconds(pid):
    """What all threads of these processes have taken so far, the kernel's part included."""
    paths = [path for of in processes(pid) for path in Path(f"/proc/{of}/task").glob("*/schedstat")]
    return sum(int((reading(path).split() or ["0"])[0]) for path in paths) / 1e9


def unevictable(pid):
    """Bytes that only swap can take: anonymous memory, and files that are in memory alone."""
    anonymous, in_memory = 0, {}
    for of in processes(pid):
        found = re.search(r"^Pss_Anon:\s+(\d+) kB", reading(f"/proc/{of}/smaps_rollup"), re.M)
        anonymous += int(found[1]) * 1024 if found else 0
        for line in reading(f"/proc/{of}/maps").splitlines():
            if "/memfd:" in line:
                begin, end = (int(number, 16) for number in line.split()[0].split("-"))
                in_memory[line.split()[4]] = end - begin
    return anonymous + sum(in_memory.values())


def on_disk(folder):
    """Bytes that the files take; files may have holes."""
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*") if path.is_file())


class Anonymous:
    """Runs commands, each with the output of the one before, and watches their anonymous memory."""

    def __init__(self, commands):
        self.commands, self.running, self.peaks, self.seconds = commands, [], {}, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.begun = time.monotonic()
        before = subprocess.DEVNULL
        for number, command in enumerate(self.commands):
            last = number == len(self.commands) - 1
            out = subprocess.DEVNULL if last else subprocess.PIPE
            self.running.append(subprocess.Popen([str(part) for part in command], stdin=before, stdout=out))
            if before != subprocess.DEVNULL:
                before.close()
            before = self.running[-1].stdout
        self.thread.start()
        return self

    def wait(self):
        codes = [process.wait() for process in self.running]
        self.seconds = time.monotonic() - self.begun
        if any(codes):
            raise Failure(f"{self.commands[-1][0]} ended with exit code {max(codes, key=abs)}")

    def __exit__(self, *_):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.over.set()
        self.thread.join()

    def look(self):
        while not self.over.wait(LOOK):
            for process in self.running:
                found = re.search(r"^RssAnon:\s+(\d+) kB", reading(f"/proc/{process.pid}/status"), re.M)
                if found:
                    self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), int(found[1]) * 1024)

    @property
    def peak(self):
        return sum(self.peaks.values())
