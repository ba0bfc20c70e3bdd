"""Writes the measured tables into docs/, between markers, and the plot beside them."""

from plot import svg
from servers import ROOT, Failure

BENCHMARK = ROOT / "docs" / "benchmark.md"
PLOT = ROOT / "docs" / "cost.svg"
SCANNING = ROOT / "docs" / "scanning.md"
BEGIN, END = "<!-- written by scripts/bench --write-docs -->", "<!-- until here -->"
BEGIN_SCANS = "<!-- written by scripts/bench --scan --write-docs -->"
CAPTION = "Processor time per request (all workers, kernel included) by songs in the collection"


def write_plot(results, path):
    costs = {result.songs: result.costs for result in results}
    path.write_text(svg(costs, CAPTION))


def write(results, measured, further):
    """Replaces the section; `measured` says when and where, `further` are more lines."""
    shown = min(results, key=lambda result: abs(result.songs - 100_000))
    lines = [
        measured,
        "",
        f"{shown.title}, wrk beside the servers, medians of the rounds:",
        "",
        *shown.main,
        "",
        *shown.packed,
        "",
        *by_size(results, (result.size for result in results)),
        "",
        "Server time in microseconds, the p50 of a single connection beyond that of a heartbeat:",
        "",
        *by_size(results, (times(result) for result in results)),
        "",
        "What a request costs as the collection grows:",
        "",
        f"![processor time per request against songs]({PLOT.name})",
        "",
        *(line.replace("## ", "### ") for line in further),
    ]
    write_plot(results, PLOT)
    replace(BENCHMARK, BEGIN, lines)


def write_scans(lines):
    """Replaces the section of what scans cost."""
    replace(SCANNING, BEGIN_SCANS, lines)


def replace(document, begin, lines):
    """Puts lines between two markers."""
    text = document.read_text()
    if text.count(begin) != 1 or text.count(END) != 1:
        raise Failure(f"{document.name} needs the line {begin!r} once, and {END!r} after it")
    before, rest = text.split(begin)
    after = rest.split(END)[1]
    document.write_text(before + "\n".join([begin, *lines, END]) + after)


def by_size(results, tables):
    """Tables of (what, figure), one for each size, side by side. A large collection may lack a row."""
    tables = [dict(table) for table in tables]
    names = dict.fromkeys(name for table in tables for name in table)
    titles = " | ".join(f"{result.songs:,} songs" for result in results)
    lines = [f"| | {titles} |", "|---" + "|--:" * len(results) + "|"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(table.get(name, '') for table in tables)} |")
    return lines


def times(result):
    return [(f"`{name}`", f"{time:,.0f}") for name, time in result.times.items() if name != "heartbeat"]
