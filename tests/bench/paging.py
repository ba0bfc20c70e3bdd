"""--page: how long the page takes in Chromium, from a key to the paint of the rows."""

import json
import os
import statistics
import subprocess

from prepare import collection, run, say
from servers import ROOT, TARGET, Failure, start_ours

PEERS = TARGET / "peers"
WHAT = {
    "open": "open the page, until the first rows",
    "key": "a key in the search, until the rows",
    "end": "the key End, until the last rows",
}


def paging(options):
    """The lines of the table."""
    if not (PEERS / "node_modules" / "playwright-core").exists():
        run(ROOT / "scripts" / "install-test-deps")
    lines = [
        "Milliseconds in Chromium (headless, a process for the page beside the server, one worker), up to the paint of",
        "the rows; with the requests, which the page makes for rows and suggestions at once.",
        "",
        "| songs | from | times | median | 90 % | longest |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for songs in options.songs:
        say(f"{songs} songs")
        server, _ = start_ours(collection(songs), 1)
        try:
            rounds = [measure(server.port) for _ in range(options.rounds)]
        finally:
            server.stop()
        for key, what in WHAT.items():
            times = sorted(time for one in rounds for time in one[key])
            ninety = times[int(len(times) * 0.9)] if len(times) > 1 else times[0]
            figures = f"{statistics.median(times):.0f} | {ninety:.0f} | {times[-1]:.0f}"
            lines.append(f"| {songs:,} | {what} | {len(times)} | {figures} |")
    return lines


def measure(port):
    """The times of one browser, by what they are of."""
    command = ["node", ROOT / "tests" / "page" / "run.mjs", "timing", f"http://127.0.0.1:{port}"]
    env = os.environ | {"AVALON_PEERS": str(PEERS), "AVALON_SHOTS": str(TARGET / "page")}
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"the page could not be measured:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)
