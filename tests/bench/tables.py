"""What was measured, as lines of Markdown."""

import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

from servers import ROOT


def table(rows, loads):
    lines = [
        "| request | bytes | ours req/s | p50 ms | p99 ms | hyper req/s | nginx req/s | ours/hyper"
        " | ours/nginx |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        ours, hyper, nginx = (loads[row.name, name] for name in ("ours", "hyper", "nginx"))
        median = lambda of, what: statistics.median(getattr(load, what) for load in of)
        ratio = lambda peer: statistics.median(our.rate / its.rate for our, its in zip(ours, peer))
        size = 0 if row.conditional else len(row.body)
        lines.append(
            f"| `{row.name}` | {size:,}"
            f" | {rate(median(ours, 'rate'))} | {median(ours, 'p50'):.2f} | {median(ours, 'p99'):.2f}"
            f" | {rate(median(hyper, 'rate'))} | {rate(median(nginx, 'rate'))}"
            f" | {ratio(hyper):.2f} | {ratio(nginx):.2f} |"
        )
    return lines


def alone_table(rows, alone):
    """Latencies of a single connection, what they have beyond a heartbeat, and processor time."""
    lines = ["| request | p50 us | server time us | processor us |", "|---|--:|--:|--:|"]
    for row in rows:
        p50 = statistics.median(load.p50 for load, _ in alone[row.name]) * 1000
        cells = (p50, server_time(row.name, alone), cost(alone[row.name]))
        lines.append(f"| `{row.name}` | {' | '.join(f'{cell:,.0f}' for cell in cells)} |")
    return lines


def server_time(name, alone):
    """Microseconds that the p50 of a request has beyond that of a heartbeat in the same round."""
    rounds = zip(alone[name], alone["heartbeat"])
    return 1000 * max(0, statistics.median(load.p50 - least.p50 for (load, _), (least, _) in rounds))


def cost(measured):
    """Microseconds of processor time that one request takes of the workers."""
    return statistics.median(spent for _, spent in measured)


def rate(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def machine():
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cpu = model[1] if model else platform.machine()
    return f"{git.stdout.strip()}, Linux {platform.release()}, {os.cpu_count()} x {cpu}"


def size_figures(songs, starts, log, memory, reloads, peers):
    """(what, figure): what a collection of that size costs in memory, at the start, in a reload."""
    figure = lambda key: float((re.search(rf"\b{key}=([\d.]+)", log) or [0, "nan"])[1])
    seen = lambda what: [getattr(start, what) for start in starts if getattr(start, what) is not None]
    middle = lambda what: statistics.median(seen(what) or [float("nan")])
    (before, after, during), retries = reloads
    sums = {when: [sum(column) / 1e6 for column in zip(*sizes)] for when, sizes in memory.items()}
    workers = {when: max(uss for _, uss in sizes[1:]) / 1e6 for when, sizes in memory.items()}
    rows = {
        "start to first answer, s": f"{middle('seconds'):.3f}",
        "of which database read / snapshot built by the loader, s": f"{figure('read_s'):.3f} / {figure('build_s'):.3f}",
        "of which workers forked and ready, s": f"{middle('after_loader'):.3f}",
        "loader's peak memory, MB": f"{middle('loader_peak') / 1e6:.0f}",
        "snapshot, MB": f"{figure('bytes') / 1e6:.1f}",
        "snapshot, bytes per song": f"{figure('bytes') / songs:.0f}",
        "PSS of all, idle / after the load, MB": f"{sums['idle'][0]:.1f} / {sums['loaded'][0]:.1f}",
        "USS of a worker at most, idle / after the load, MB": f"{workers['idle']:.1f} / {workers['loaded']:.1f}",
        "p99 at a steady load, before / during a reload, ms": f"{before:.2f} / {after:.2f}",
        "reload until the former workers are gone, s": f"{during:.2f}",
        "requests sent again during reloads": f"{retries}",
        "PSS of peers after the load, MB": ", ".join(f"{name} {pss / 1e6:.1f}" for name, pss in peers.items()),
    }
    return list(rows.items())
