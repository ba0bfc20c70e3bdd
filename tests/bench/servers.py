"""The three servers of scripts/bench: how each is started, found, weighed and ended."""

import http.client
import os
import re
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "bench"


class Failure(Exception):
    """What went wrong, in words for the user."""


def fetch(port, path, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    except http.client.HTTPException as error:
        raise Failure(f"{path} is not answered as HTTP asks: {error}") from error
    finally:
        connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process that serves, and the processes it forked."""

    def __init__(self, name, command, port=None, env=None, stdout=None):
        self.name, self.port = name, port
        self.log = WORK / f"{name}.log"
        self.begun = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
            )

    def await_heartbeat(self, path="/avalon/heartbeat", seconds=600):
        """Waits for the first 200. Refused connections are tried again each millisecond;
        one that was accepted early just waits."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                response, _ = fetch(self.port, path)
                if response.status == 200:
                    return
                raise Failure(f"{self.name}: {path} has status {response.status}")
            except OSError:
                if self.process.poll() is not None:
                    raise Failure(f"{self.name} ended:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.001)
        raise Failure(f"{self.name} did not answer within {seconds} s; see {self.log}")

    def started(self):
        """This server as soon as it answers; it is ended if it does not."""
        try:
            self.await_heartbeat()
        except BaseException:
            self.stop()
            raise
        return self

    def age(self):
        """Seconds since it was started."""
        return time.monotonic() - self.begun

    def children(self):
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split()]

    def workers(self):
        """The children but for those that help the master."""
        return [pid for pid in self.children() if title_of(pid).startswith("avalon: worker")]

    def memory(self):
        """(PSS, USS) in bytes of the first process and of each child."""
        return [memory_of(pid) for pid in [self.process.pid, *self.children()]]

    def worker_time(self):
        """Seconds of processor time, the kernel's for them included, of all children so far."""
        tasks = [path for pid in self.children() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9

    @contextmanager
    def on_one_processor(self):
        """All children, and what this process starts meanwhile, on the last processor: whether a
        request wakes up another processor is luck that costs more than most requests."""
        processors = os.sched_getaffinity(0)
        try:
            self.bind({max(processors)})
            yield
        finally:
            self.bind(processors)

    def bind(self, processors):
        os.sched_setaffinity(0, processors)
        for task in (path for pid in self.children() for path in Path(f"/proc/{pid}/task").iterdir()):
            try:
                os.sched_setaffinity(int(task.name), processors)
            except ProcessLookupError:
                pass  # a thread that has ended since

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def title_of(pid):
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def memory_of(pid):
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))
    kib = lambda key: int(sizes.get(key, 0)) * 1024
    return kib("Pss"), kib("Private_Clean") + kib("Private_Dirty")


@dataclass
class Start:
    """How a server of ours started. Seconds and bytes; None where it was too quick to be seen."""

    seconds: float  # to the first answer
    after_loader: float | None  # of which after the end of the loader: forking and getting ready
    loader_peak: int | None


class LoaderWatch(threading.Thread):
    """Watches the children of a starting master: the greatest memory and the end of each."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peaks, self.seen, self.done = server, {}, {}, threading.Event()

    def run(self):
        while not self.done.wait(0.005):
            for pid in self.server.children():
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
                if peak:
                    self.peaks[pid] = int(peak[1]) * 1024
                    self.seen[pid] = time.monotonic()

    def finish(self, begun):
        """What was seen of those that are gone by now: loaders."""
        answered = time.monotonic()
        self.done.set()
        self.join()
        gone = self.peaks.keys() - set(self.server.children())
        peak = max((self.peaks[pid] for pid in gone), default=None)
        end = max((self.seen[pid] for pid in gone), default=None)
        return Start(answered - begun, end and answered - end, peak)


def start_ours(database, workers, program=None, name="ours"):
    """Our server, or another `program` in its place, and how it started."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AVALON_")}
    # no statsd: its datagram per request is no work that the peers do
    # no control socket: its folder belongs to another server of this machine, and its helper is no worker
    env |= {"AVALON_DATABASE_URL": f"sqlite:///{database}", "AVALON_STATSD_HOST": "", "AVALON_CONTROL": "none"}
    port = free_port()
    begun = time.monotonic()
    master = program or TARGET / "release" / "avalon-master"
    server = Server(name, [master, "--workers", workers, "--bind", f"127.0.0.1:{port}"], port, env)
    try:
        watch = LoaderWatch(server)
        watch.start()
        server.await_heartbeat()
        return server, watch.finish(begun)
    except BaseException:
        server.stop()
        raise


def start_hyper(folder, workers, accept="thread"):
    command = [TARGET / "release" / "examples" / "hyper_peer", "--processes", workers, "--folder", folder]
    name = "hyper" if accept == "thread" else f"hyper ({accept})"
    server = Server(name, [*command, "--accept", accept], stdout=subprocess.PIPE)
    line = server.process.stdout.readline().decode()
    if not line:
        server.stop()
        raise Failure(f"hyper_peer did not start: {server.log.read_text()}")
    server.port = int(line.rsplit(":", 1)[1])
    return server


NGINX = """
daemon off; master_process on; worker_processes {workers}; pid {work}/nginx.pid;
error_log {work}/nginx-error.log error; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; server_tokens off; sendfile on; tcp_nopush on;
    keepalive_requests 1000000000; open_file_cache max=100; default_type "application/json; charset=utf-8";
    client_body_temp_path {work}/nginx-temp; proxy_temp_path {work}/nginx-temp;
    fastcgi_temp_path {work}/nginx-temp;
    uwsgi_temp_path {work}/nginx-temp; scgi_temp_path {work}/nginx-temp;
    server {{ listen 127.0.0.1:{port} backlog=2048; root {folder}; }}
}}
"""


def start_nginx(nginx, folder, workers):
    # started by root it would change to a user who may not read our folder
    user = "user root;" if os.geteuid() == 0 else ""
    port = free_port()
    config = WORK / "nginx.conf"
    config.write_text(NGINX.format(workers=workers, work=WORK, user=user, port=port, folder=folder))
    server = Server("nginx", [nginx, "-p", WORK, "-e", WORK / "nginx-error.log", "-c", config], port)
    try:
        server.await_heartbeat(seconds=10)
    except BaseException:
        server.stop()
        raise
    return server
