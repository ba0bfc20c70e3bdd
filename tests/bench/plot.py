"""The plot of cost against size: microseconds of processor time per request over the number of
songs, both logarithmic, as SVG by hand, so that no library is needed.

Requests whose cost grows with the collection rise; those that an index answers lie flat.
"""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 60, 350, 36, 48
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c564b"]
LABEL_HEIGHT = 14  # that many units keep labels of neighbours apart


class Axis:
    """Maps numbers to units of the drawing, by whole decades."""

    def __init__(self, values, begin, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self.begin, self.end = begin, end

    def at(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def decades(self):
        return [10**power for power in range(self.low, self.high + 1)]


def amount(value, units):
    factor, unit = next(pair for pair in units if value >= pair[0])
    return f"{value / factor:g} {unit}".strip()


def labels(ends):
    """Heights for the labels of lines that end at these heights, from top to bottom, none on another."""
    placed = []
    for end in ends:
        placed.append(max(end, placed[-1] + LABEL_HEIGHT) if placed else end)
    lowest = HEIGHT - BOTTOM
    for at in reversed(range(len(placed))):
        placed[at] = min(placed[at], lowest)
        lowest = placed[at] - LABEL_HEIGHT
    return placed


def grid(x, y):
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in y.decades():
        height = f"{y.at(value):.1f}"
        yield f'<line class="grid" x1="{LEFT}" y1="{height}" x2="{right}" y2="{height}"/>'
        name = amount(value, [(1e6, "s"), (1e3, "ms"), (1, "us"), (1e-3, "ns")])
        yield f'<text x="{LEFT - 6}" y="{height}" dy="4" text-anchor="end">{name}</text>'
    for value in x.decades():
        place = f"{x.at(value):.1f}"
        yield f'<line class="grid" x1="{place}" y1="{TOP}" x2="{place}" y2="{bottom}"/>'
        name = amount(value, [(1e6, "M"), (1e3, "k"), (1, "")])
        yield f'<text x="{place}" y="{bottom + 18}" text-anchor="middle">{name}</text>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">songs</text>'


def lines(curves, x, y):
    """A line with a dot per size for each request, and its name where it ends, the dearest on top."""
    ordered = sorted(curves.items(), key=lambda curve: -curve[1][-1][1])
    heights = labels([y.at(points[-1][1]) for _, points in ordered])
    for number, ((name, points), height) in enumerate(zip(ordered, heights)):
        color, dash = COLORS[number % len(COLORS)], ["", "5 3", "2 2"][number // len(COLORS) % 3]
        places = [(f"{x.at(songs):.1f}", f"{y.at(cost):.1f}") for songs, cost in points]
        path = " ".join(f"{left},{top}" for left, top in places)
        yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6" stroke-dasharray="{dash}"/>'
        for left, top in places:
            yield f'<circle cx="{left}" cy="{top}" r="2.6" fill="{color}"/>'
        end = f"{places[-1][0]},{places[-1][1]} {WIDTH - RIGHT + 12},{height:.1f}"
        yield f'<polyline points="{end}" fill="none" stroke="{color}" stroke-width="0.5"/>'
        yield f'<text x="{WIDTH - RIGHT + 16}" y="{height:.1f}" dy="4" fill="{color}">{escape(name)}</text>'


def svg(costs, caption):
    """The drawing of {songs: {request: microseconds}}."""
    curves = {}
    for songs in sorted(costs):
        for name, cost in costs[songs].items():
            # a clock that did not advance cannot be shown on a logarithmic axis
            curves.setdefault(name, []).append((songs, max(cost, 0.1)))
    x = Axis(costs, LEFT, WIDTH - RIGHT)
    y = Axis([cost for points in curves.values() for _, cost in points], HEIGHT - BOTTOM, TOP)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="11">',
        "<style>.grid { stroke: #ddd }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="13">{escape(caption)}</text>',
        *grid(x, y),
        *lines(curves, x, y),
        "</svg>",
        "",
    ])
