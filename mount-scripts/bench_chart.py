#!/usr/bin/env python3
"""Draws what mount-scripts/bench measured: for each job, everyone's speed over that of passthrough_ll.

    mount-scripts/bench_chart.py RESULTS.json CHART.svg

The scale is logarithmic: a bar twice as fast is as long upwards as one half as fast is downwards. Needs
nothing but Python.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

BASE = "passthrough"
ORDER = ["extractfs", "floor", "qemu", "nbdfuse", "bare"]
COLOURS = {"extractfs": "#d1495b", "floor": "#edae49", "qemu": "#00798c", "nbdfuse": "#52489c",
           "bare": "#9a9a9a"}
BAR, GAP, LEFT, RIGHT, TOP, PANEL, FOOT = 26, 22, 52, 16, 58, 230, 46


def ratios(document):
    """Returns (place, job) -> {contestant: speed over that of passthrough_ll}, without what is unknown."""
    rows = {(row["where"], row["job"], row["contestant"]): row["median"]
            for row in document["results"]}
    found = {}
    for (place, job, name), median in rows.items():
        base = rows.get((place, job, BASE))
        group = found.setdefault((place, job), {})
        if base and median and name != BASE:
            group[name] = median / base
    return found


def write(document, path):
    with open(path, "w") as file:
        file.write(draw(document))


def draw(document):
    found = ratios(document)
    places = list(dict.fromkeys(place for place, _ in found))
    jobs = list(dict.fromkeys(job for _, job in found))
    names = [name for name in ORDER if any(name in group for group in found.values())]
    group_width = max(1, len(names)) * BAR + GAP
    width = max(560, LEFT + RIGHT + group_width * len(jobs))
    height = TOP + (PANEL + FOOT) * len(places) + 8
    values = [value for group in found.values() for value in group.values()] or [1]
    low = min(-1, math.floor(math.log2(min(values)) - 0.2))
    high = max(1, math.ceil(math.log2(max(values)) + 0.2))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(LEFT, 20, "Speed over that of passthrough_ll (logarithmic; above 1 is faster)", size=14),
    ]
    for index, name in enumerate(names):
        x = LEFT + index * 92
        parts.append(f'<rect x="{x}" y="32" width="11" height="11" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 16, 42, name))
    for index, place in enumerate(places):
        top = TOP + index * (PANEL + FOOT)
        parts += panel(place, jobs, names, found, top, width, low, high, group_width)
    return "\n".join(parts + ["</svg>"]) + "\n"


def panel(place, jobs, names, found, top, width, low, high, group_width):
    def height_of(ratio):
        return top + PANEL * (high - math.log2(ratio)) / (high - low)

    parts = []
    for power in range(low, high + 1):
        y = height_of(2.0 ** power)
        colour, weight = ("#333333", 1.2) if power == 0 else ("#dddddd", 1)
        parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     f'stroke="{colour}" stroke-width="{weight}"/>')
        parts.append(text(LEFT - 6, y + 4, f"{2.0 ** power:g}×", anchor="end"))
    for index, job in enumerate(jobs):
        x = LEFT + GAP / 2 + index * group_width
        group = found.get((place, job), {})
        for number, name in enumerate(names):
            if name in group:
                parts += bar(x + number * BAR, group[name], COLOURS[name], height_of,
                             f"{place}, {job}, {name}")
        middle = x + len(names) * BAR / 2
        if not group:
            parts.append(text(middle, height_of(1) - 6, "–", anchor="middle"))
        parts.append(text(middle, top + PANEL + 16, job, anchor="middle", size=12))
    parts.append(text(LEFT, top + PANEL + 34, f"image in {place}", size=12))
    return parts


def bar(x, ratio, colour, height_of, title):
    one, end = height_of(1), height_of(ratio)
    y, length = min(one, end), max(1, abs(end - one))
    label = f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
    label = f"{ratio:.2f}" if ratio < 0.995 else label
    place = end - 3 if ratio >= 1 else end + 11
    return [
        f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{BAR - 4}" height="{length:.1f}" fill="{colour}">'
        f'<title>{escape(title)}: {ratio:.2f}</title></rect>',
        text(x + BAR / 2, place, label, anchor="middle", size=10),
    ]


def text(x, y, words, anchor="start", size=11):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
            f"{escape(words)}</text>")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: bench_chart.py RESULTS.json CHART.svg")
    with open(sys.argv[1]) as file:
        write(json.load(file), sys.argv[2])
