"""Writes what was measured into the README, between markers, and the plot beside it."""

from plot import svg
from servers import ROOT, Failure

README = ROOT / "README.md"
PLOT = ROOT / "tests" / "bench" / "cost.svg"
BEGIN, END = "<!-- written by scripts/bench --write-readme -->", "<!-- until here -->"
CAPTION = "Processor time per request (all workers, kernel included) by songs in the collection"


def write_plot(results, path):
    costs = {result.songs: result.costs for result in results}
    path.write_text(svg(costs, CAPTION))


def write(results, measured, further):
    """Replaces the section; `measured` says when and where, `further` are more lines."""
    text = README.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise Failure(f"README.md needs the line {BEGIN!r} once, and {END!r} after it")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    shown = min(results, key=lambda result: abs(result.songs - 100_000))
    lines = [
        BEGIN,
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
        f"![processor time per request against songs]({PLOT.relative_to(ROOT)})",
        "",
        *(line.replace("## ", "### ") for line in further),
        END,
    ]
    write_plot(results, PLOT)
    README.write_text(before + "\n".join(lines) + after)


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
