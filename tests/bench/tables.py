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


def rate(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def memory_table(before, after):
    cell = lambda sizes: " | ".join(f"{size / 1e6:.1f}" for size in sizes)
    lines = ["| MB | PSS before | USS before | PSS after | USS after |", "|---|--:|--:|--:|--:|"]
    for at, (then, now) in enumerate(zip(before, after)):
        lines.append(f"| {'master' if at == 0 else f'worker {at}'} | {cell(then)} | {cell(now)} |")
    total = [sum(column) for column in zip(*(then + now for then, now in zip(before, after)))]
    return [*lines, f"| sum | {cell(total)} |"]


def machine():
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cpu = model[1] if model else platform.machine()
    return f"{git.stdout.strip()}, Linux {platform.release()}, {os.cpu_count()} x {cpu}"


def told(log, peak, songs):
    """What else is known of a start: our log's own figures, and the loader's memory."""
    figure = lambda key: (re.search(rf"\b{key}=([\d.]+)", log) or [None, None])[1]
    read, built, size = figure("read_s"), figure("build_s"), figure("bytes")
    text = f"; database read in {read} s, snapshot built in {built} s" if read and built else ""
    text += f"; snapshot of {int(size) / 1e6:.1f} MB, {int(size) / songs:.0f} bytes per song" if size else ""
    return text + (f"; peak memory of the loader {peak / 1e6:.0f} MB" if peak else "")
