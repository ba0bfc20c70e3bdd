"""`--search`: ours beside what a user would pick instead, on the same rows and in the same run."""

import shutil
import statistics
import time
from dataclasses import dataclass

from load import CONNECTIONS, drive
from prepare import collection, say
from search_peers import PROCESSES, Datasette, Fts5, Groonga, Ours, Tantivy, build_program
from search_rows import Question, questions
from servers import WORK
from tables import rate
from weighing import await_true, on_disk, processor_seconds, unevictable

FIRST = "prefix of 3 letters"  # the first answer after a start


@dataclass
class Cell:
    """One server and one question: a load of all connections, and one of a single one."""

    rates: list
    p50s: list
    costs: list


@dataclass
class Figures:
    """What one server costs. Seconds and bytes."""

    build: tuple | None = None  # seconds, peak of anonymous memory
    start: float = 0.0
    rest: int = 0
    disk: int = 0
    change: float = 0.0


def searching(options, wrk):
    """The lines on all sizes."""
    build_program()
    kinds = [Ours, Fts5, Tantivy, Datasette]
    lines = []
    if Groonga.installed():
        kinds.append(Groonga)
    else:
        lines += ["Groonga is not here: Debian's `groonga-bin` could not be installed.", ""]
    for songs in options.songs:
        lines += compare(songs, kinds, options, wrk)
    return lines


def compare(songs, kinds, options, wrk):
    database = collection(songs)
    asked = questions(database, songs)
    first = next(question for question in asked if question.name == FIRST)
    folder = WORK / f"search-{songs}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    peers = [kind(database, folder) for kind in kinds]
    figures = {peer.name: Figures() for peer in peers}
    try:
        for peer in peers:
            say(f"{songs:,} songs: {peer.name}")
            begin(peer, figures[peer.name], first, asked)
        cells = measure(peers, asked, options, wrk)
        for peer in peers:
            figures[peer.name].rest = unevictable(peer.server.process.pid)
        for peer in peers:
            say(f"  one changed row: {peer.name}")
            figures[peer.name].change = statistics.median(changes(peer, first, options.rounds))
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return tables(songs, peers, asked, cells, figures)


def begin(peer, figures, first, asked):
    """Builds and starts it, and checks what it answers."""
    figures.build = peer.build()
    figures.disk = on_disk(peer.index)
    # The first start pays for reading the programs from the disk.
    starts = []
    for _ in range(3):
        peer.stop()
        starts.append(peer.start(first))
    figures.start = statistics.median(starts)
    for question in asked:
        answer = peer.ask(question)
        if isinstance(peer, Ours):
            question.check_ours(answer)
        else:
            question.check(peer.name, answer)


def measure(peers, asked, options, wrk):
    """{(question, peer): cell}; the order of servers turns each round."""
    cells = {(question.name, peer.name): Cell([], [], []) for question in asked for peer in peers}
    for turn in range(options.rounds):
        say(f"  round {turn + 1} of {options.rounds}")
        for question in asked:
            for peer in peers[turn % len(peers):] + peers[: turn % len(peers)]:
                cell, path = cells[question.name, peer.name], [peer.path(question)]
                load = drive(wrk, peer.server, path, {}, options.seconds)
                cell.rates.append(load.rate)
                cell.p50s.append(load.p50)
                settle(peer)
                # A single connection: at the end one request at most has been worked on and not counted.
                before = processor_seconds(peer.server.process.pid)
                alone = drive(wrk, peer.server, path, {}, max(1, options.seconds // 2), 1)
                spent = processor_seconds(peer.server.process.pid) - before
                cell.costs.append(spent * 1e6 / alone.requests)
                settle(peer)
    return cells


def settle(peer):
    """Waits until the server has done with requests whose clients are gone."""
    pid, spent = peer.server.process.pid, -1.0
    while (now := processor_seconds(pid)) - spent > 0.002:
        spent = now
        time.sleep(0.05)


def changes(peer, first, rounds):
    """Seconds from the change of a row until it is found, by round."""
    if isinstance(peer, Datasette):
        peer.stop()
        peer.start(first, mutable=True)
    taken = []
    for turn in range(rounds):
        # A word of letters alone, as all know words of these.
        word = f"zzq{chr(ord('a') + turn % 26)}changed"
        row = dict(first.answer[0], name=f"The {word} song")
        changed = Question("the changed row", (word,))
        log = peer.server.log.read_text().count("snapshot saved")
        begun = time.monotonic()
        peer.change(row)
        await_true(lambda: [found["name"] for found in peer.ask(changed)] == [row["name"]], peer.server)
        taken.append(time.monotonic() - begun)
        if isinstance(peer, Ours):
            await_true(lambda: peer.server.log.read_text().count("snapshot saved") > log, peer.server)
    return taken


def tables(songs, peers, asked, cells, figures):
    names = [peer.name for peer in peers]
    lines = [f"## {songs:,} songs, {PROCESSES} workers or threads of each", ""]
    lines += ["Processor microseconds of the server per request, one connection:", ""]
    costs = lambda question, name: statistics.median(cells[question.name, name].costs)
    lines += [f"| request | {' | '.join(names)} | best peer / Avalon |", "|---|" + "--:|" * (len(names) + 1)]
    for question in asked:
        numbers = [costs(question, name) for name in names]
        shown = " | ".join(f"{number:,.1f}" if number < 100 else f"{number:,.0f}" for number in numbers)
        lines.append(f"| {question.name} | {shown} | {min(numbers[1:]) / numbers[0]:.1f} |")
    lines += ["", f"Requests a second (p50 in ms), {CONNECTIONS} connections:", ""]
    lines += [f"| request | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for question in asked:
        of = [cells[question.name, name] for name in names]
        shown = (f"{rate(statistics.median(cell.rates))} ({statistics.median(cell.p50s):.2f})" for cell in of)
        lines.append(f"| {question.name} | {' | '.join(shown)} |")
    return [*lines, "", *figure_table(songs, names, figures), ""]


def figure_table(songs, names, figures):
    built = lambda at, show: [show(figures[name].build[at]) if figures[name].build else "as FTS5" for name in names]
    each = lambda show: [show(figures[name]) for name in names]
    rows = {
        "build, s": built(0, lambda seconds: f"{seconds:.2f}"),
        "peak of anonymous memory of the build, MB": built(1, lambda size: f"{size / 1e6:.0f}"),
        "memory that only swap can take, after the load, MB": each(lambda of: f"{of.rest / 1e6:.1f}"),
        "bytes per song on the disk": each(lambda of: f"{of.disk / songs:.0f}"),
        "start to first answer, s": each(lambda of: f"{of.start:.3f}"),
        "one changed row to served, s": each(lambda of: f"{of.change:.4f}"),
    }
    lines = [f"| | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    return lines + [f"| {what} | {' | '.join(shown)} |" for what, shown in rows.items()]
