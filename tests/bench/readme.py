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
        f"{shown.songs:,} songs:",
        "",
        *shown.main,
        "",
        *by_size(results),
        "",
        "What a request costs as the collection grows:",
        "",
        f"![processor time per request against songs]({PLOT.relative_to(ROOT)})",
        "",
        *further,
        END,
    ]
    write_plot(results, PLOT)
    README.write_text(before + "\n".join(lines) + after)


def by_size(results):
    """The tables of sizes side by side."""
    titles = " | ".join(f"{result.songs:,} songs" for result in results)
    lines = [f"| | {titles} |", "|---" + "|--:" * len(results) + "|"]
    for cells in zip(*(result.size for result in results)):
        lines.append(f"| {cells[0][0]} | {' | '.join(value for _, value in cells)} |")
    return lines
