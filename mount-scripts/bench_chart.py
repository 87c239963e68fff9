#!/usr/bin/env python3
"""Draws what mount-scripts/bench measured: for each job, everyone's speed over that of passthrough_ll.

    mount-scripts/bench_chart.py RESULTS.json CHART.svg

The scale is logarithmic: a bar twice as fast is as long upwards as one half as fast is downwards. Jobs that
do not fit side by side go into a second row. Where passthrough_ll took no part, extractfs is what everyone
is compared with. Needs nothing but Python.
"""

import math
import sys
from xml.sax.saxutils import escape

sys.dont_write_bytecode = True  # No __pycache__ beside the scripts.
import bench_report  # noqa: E402

COLOURS = {"extractfs": "#d1495b", "floor": "#edae49", "qemu": "#00798c", "nbdfuse": "#52489c",
           "bare": "#9a9a9a", "passthrough": "#59a14f",
           "passthrough-best": "#2f6b3a", "uncounted": "#f28e8e"}
# For contestants that --also has named.
MORE_COLOURS = ["#8c564b", "#e377c2", "#17becf", "#bcbd22", "#3b5b92"]
WIDTH, LEFT, RIGHT = 1000, 52, 16
BAR, GAP = 26, 22
# A row of jobs: the bars, with room for a label above and below, then the names of the jobs.
PANEL, LABEL, JOB_NAMES = 220, 14, 26
LEGEND, LEGEND_LINE, TITLE, HEADING = 118, 18, 48, 26


def write(document, path):
    with open(path, "w") as file:
        file.write(draw(document))


class Chart:
    """What is compared with what, and the measures that follow from it."""

    def __init__(self, document):
        rows = bench_report.rows_of(document)
        everyone = document["contestants"]
        self.base = "passthrough" if "passthrough" in everyone else bench_report.SELF
        self.names = [name for name in [bench_report.SELF, *bench_report.peers_of(document)]
                      if name in everyone and name != self.base]
        self.places, self.jobs = document["where"], document["jobs"]
        # (place, contestant) -> job -> speed over the base's.
        self.ratios = {(place, name): bench_report.ratios(rows, place, self.jobs, self.base, name)
                       for place in self.places for name in self.names}
        values = [ratio for group in self.ratios.values() for ratio in group.values()] or [1]
        self.low = min(-1, math.floor(math.log2(min(values))))
        self.high = max(1, math.ceil(math.log2(max(values))))
        # Wide enough for the longest name of a job.
        self.group = max(56, len(self.names) * BAR + GAP)
        fitting = max(1, (WIDTH - LEFT - RIGHT) // self.group)
        count = math.ceil(len(self.jobs) / fitting)
        # As equal as can be, the longer rows first.
        each = math.ceil(len(self.jobs) / count)
        self.job_rows = [self.jobs[start:start + each] for start in range(0, len(self.jobs), each)]
        self.width = max(560, LEFT + RIGHT + self.group * each)
        self.legend_columns = max(1, (self.width - LEFT - RIGHT) // LEGEND)

    def colour(self, name):
        if name in COLOURS:
            return COLOURS[name]
        others = [other for other in self.names if other not in COLOURS]
        return MORE_COLOURS[others.index(name) % len(MORE_COLOURS)]

    def height_of(self, top, ratio):
        """Where a ratio lies in the panel that begins at `top`."""
        share = (self.high - math.log2(ratio)) / (self.high - self.low)
        return top + LABEL + (PANEL - 2 * LABEL) * share


def draw(document):
    chart = Chart(document)
    parts = [text(LEFT, 20, f"Speed over that of {base_title(chart)} (logarithmic; above 1 is faster)", size=14)]
    parts.append(text(LEFT, 38, bench_report.machine(document), size=11))
    parts += legend(chart, TITLE)
    y = TITLE + LEGEND_LINE * math.ceil(len(chart.names) / chart.legend_columns)
    for place in chart.places:
        parts.append(text(LEFT, y + HEADING - 8, bench_report.PLACES[place], size=13, weight="bold"))
        y += HEADING
        for jobs in chart.job_rows:
            parts += panel(chart, place, jobs, y)
            y += PANEL + JOB_NAMES
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{chart.width}" height="{y}" '
        f'viewBox="0 0 {chart.width} {y}" font-family="sans-serif" font-size="11">',
        f'<rect width="{chart.width}" height="{y}" fill="#ffffff"/>',
    ]
    return "\n".join(head + parts + ["</svg>"]) + "\n"


def base_title(chart):
    return bench_report.title_of(chart.base)


def legend(chart, top):
    parts = []
    for index, name in enumerate(chart.names):
        x = LEFT + index % chart.legend_columns * LEGEND
        y = top + index // chart.legend_columns * LEGEND_LINE
        parts.append(f'<rect x="{x}" y="{y + 2}" width="11" height="11" fill="{chart.colour(name)}"/>')
        parts.append(text(x + 16, y + 12, name))
    return parts


def panel(chart, place, jobs, top):
    parts = []
    for power in range(chart.low, chart.high + 1):
        y = chart.height_of(top, 2.0 ** power)
        colour, weight = ("#333333", 1.2) if power == 0 else ("#dddddd", 1)
        parts.append(f'<line x1="{LEFT}" x2="{chart.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     f'stroke="{colour}" stroke-width="{weight}"/>')
        label = f"{2 ** power}×" if power >= 0 else f"1/{2 ** -power}×"
        parts.append(text(LEFT - 6, y + 4, label, anchor="end"))
    for index, job in enumerate(jobs):
        middle = LEFT + (index + 0.5) * chart.group
        x = middle - len(chart.names) * BAR / 2
        measured = False
        for number, name in enumerate(chart.names):
            ratio = chart.ratios[place, name].get(job)
            if ratio:
                measured = True
                parts += bar(chart, x + number * BAR, top, ratio, name, f"{place}, {job}, {name}")
        if not measured:
            one = chart.height_of(top, 1)
            parts.append(text(middle, one - 6, base_title(chart), anchor="middle"))
            parts.append(text(middle, one + 14, "cannot do this", anchor="middle"))
        parts.append(text(middle, top + PANEL + 12, job, anchor="middle", size=12))
    return parts


def bar(chart, x, top, ratio, name, title):
    one, end = chart.height_of(top, 1), chart.height_of(top, ratio)
    y, length = min(one, end), max(1, abs(end - one))
    digits = 2 if ratio < 1.995 else 1 if ratio < 9.95 else 0
    place = end - 3 if ratio >= 1 else end + 11
    return [
        f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{BAR - 4}" height="{length:.1f}" '
        f'fill="{chart.colour(name)}"><title>{escape(title)}: {ratio:.2f}</title></rect>',
        text(x + BAR / 2, place, f"{ratio:.{digits}f}", anchor="middle", size=10, halo=True),
    ]


def text(x, y, words, anchor="start", size=11, weight="normal", halo=False):
    """Words; with a halo, lines of the grid do not cross them."""
    style = ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if halo else ""
    style += f' font-weight="{weight}"' if weight != "normal" else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{style}>'
            f"{escape(words)}</text>")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: bench_chart.py RESULTS.json CHART.svg")
    write(bench_report.load(sys.argv[1]), sys.argv[2])
