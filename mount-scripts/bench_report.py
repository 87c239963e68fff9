#!/usr/bin/env python3
"""Says what mount-scripts/bench measured: tables, goals, Markdown; also once more, from what --json wrote.

    mount-scripts/bench_report.py RESULTS.json [--goals] [--markdown FILE]
"""

import argparse
import dataclasses
import json
import shlex
import statistics
import sys

SCHEMA = 2
SELF = "extractfs"
LARGE = ["sr", "sw"]
SMALL = ["rr1", "rr32", "rw32", "rr32x2", "rw32x2", "rr1x2", "mixed"]
# One of each sort: what the goals against the best options of passthrough_ll are about.
TYPICAL = ["rr1", "rr32", "rw32", "sr", "sw", "rr32x2"]
# The order of columns; contestants added by --also come after.
PEERS = ["passthrough", "passthrough-best", "qemu", "nbdfuse", "bare", "floor", "uncounted"]
# Names that readers of the README know better.
TITLES = {"passthrough": "passthrough_ll", "passthrough-best": "passthrough_ll, best options",
          "bare": "bare file", "floor": "floor (`backend=null`)",
          "qemu": "qemu-storage-daemon"}
PLACES = {"tmpfs": "image in tmpfs", "disk": "image on disk"}


def main():
    parser = argparse.ArgumentParser(
        prog="bench_report.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", metavar="RESULTS.json")
    parser.add_argument("--goals", action="store_true", help="say which goals are met")
    parser.add_argument("--markdown", metavar="FILE", help="write the README's tables to FILE")
    options = parser.parse_args()
    document = load(options.results)
    print(f"machine: {machine(document)}")
    report(document)
    if options.goals:
        print_goals(document)
    if options.markdown:
        write_markdown(document, options.markdown)


def load(path):
    """Reads what --json wrote, or ends with one line on stderr."""
    try:
        with open(path) as file:
            document = json.load(file)
        if document["schema"] != SCHEMA:
            sys.exit(f"{path}: schema {document['schema']}, but this program reads schema {SCHEMA}")
        return document
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{path}: not a file that mount-scripts/bench --json wrote ({error})")


def machine(document):
    """Processor, CPUs, hypervisor and kernel in one line."""
    parts = [document["machine"], f"{document['cpus']} CPU{'s' if document['cpus'] > 1 else ''}"]
    # Documents of before this was written down do not know.
    if "hypervisor" in document:
        parts.append("under a hypervisor" if document["hypervisor"] else "no hypervisor")
    return ", ".join([*parts, f"Linux {document['kernel']}"])


# Figures -----------------------------------------------------------------------------------------


def summarise(place, job, name, samples):
    """One row of the results: what one contestant did in one job, over all rounds."""
    key = "bytes_per_second" if job in LARGE else "iops"
    values = [sample[key] for sample in samples]
    median = statistics.median(values)
    summary = {
        "where": place, "job": job, "contestant": name,
        "unit": "MB/s" if job in LARGE else "IOPS",
        "median": median / 1e6 if job in LARGE else median,
        "spread": (max(values) - min(values)) / median if median else 0,
        "p99_microseconds": statistics.median(sample["p99_microseconds"] for sample in samples),
        "samples": samples,
    }
    amount = (sum(sample["bytes"] for sample in samples) / (1 << 30) if job in LARGE
              else sum(sample["requests"] for sample in samples) / 1e5)
    summary["cpu_unit"] = "s/GiB" if job in LARGE else "s/100k"
    clients = sum(sample["client_cpu_seconds"] for sample in samples)
    summary["client_cpu"] = clients / amount if amount else 0
    if "daemon_cpu_seconds" in samples[0]:
        cpu = sum(sample["daemon_cpu_seconds"] for sample in samples)
        summary["cpu"] = cpu / amount if amount else 0
        summary["peak_rss_mib"] = max(sample["daemon_peak_rss_mib"] for sample in samples)
    return summary


def rows_of(document):
    """Returns (place, job, contestant) -> row. Floor is measured in one place, and valid for all."""
    rows = {(row["where"], row["job"], row["contestant"]): row for row in document["results"]}
    for row in document["results"]:
        if row["contestant"] == "floor":
            for place in document["where"]:
                rows.setdefault((place, row["job"], "floor"), row)
    return rows


def peers_of(document):
    """Everyone but this program, in the order of columns."""
    others = [name for name in document["contestants"] if name != SELF]
    return sorted(others, key=lambda name: PEERS.index(name) if name in PEERS else len(PEERS))


def ratios(rows, place, jobs, peer, base=SELF):
    """Returns job -> speed over that of the peer, for the jobs that both could do."""
    found = {}
    for job in jobs:
        ours, theirs = rows.get((place, job, base)), rows.get((place, job, peer))
        if ours and theirs and ours["median"] and theirs["median"]:
            found[job] = ours["median"] / theirs["median"]
    return found


# The terminal ------------------------------------------------------------------------------------


def report(document):
    rows = rows_of(document)
    for place in document["where"]:
        print(f"\n{PLACES[place]}")
        print_figures(document, rows, place)
        print_ratios(document, rows, place)
    print_costs(document, rows)


def print_figures(document, rows, place):
    names = document["contestants"]
    print(f"  {'job':8}{'unit':6}" + "".join(f"{name:>18}" for name in names))
    for job in document["jobs"]:
        line = f"  {job:8}{'MB/s' if job in LARGE else 'IOPS':6}"
        for name in names:
            row = rows.get((place, job, name))
            line += f"{row['median']:>11,.0f} ±{row['spread'] * 50:>3.0f} %" if row else f"{'–':>18}"
        print(line)


def print_ratios(document, rows, place):
    peers = peers_of(document)
    if SELF not in document["contestants"] or not peers:
        return
    columns = [ratios(rows, place, document["jobs"], peer) for peer in peers]
    print(f"  {'ratio of extractfs to':22}" + "".join(f"{peer:>18}" for peer in peers))
    lines = [(job, [column.get(job) for column in columns]) for job in document["jobs"]]
    lines.append(("geometric mean", [geometric_mean(column) for column in columns]))
    lines.append(("least", [least(column) for column in columns]))
    for title, values in lines:
        print(f"  {title:22}" + "".join(
            f"{value:>17.2f}x" if value else f"{'–':>18}" for value in values))


def geometric_mean(column):
    return statistics.geometric_mean(column.values()) if column else None


def least(column):
    return min(column.values()) if column else None


def print_costs(document, rows):
    names = names_with_costs(document)
    if not names:
        return
    print("\nCPU time of daemon + client (s per GiB at 1 MiB, s per 100,000 requests at 4 KiB), and the "
          "daemon's peak RSS")
    print(f"  {'where':7}{'job':8}{'unit':8}" + "".join(f"{name:>22}" for name in names))
    for place in document["where"]:
        for job in document["jobs"]:
            line = f"  {place:7}{job:8}{'s/GiB' if job in LARGE else 's/100k':8}"
            for name in names:
                row = rows.get((place, job, name))
                line += (f"{row['cpu']:>7.2f} +{row['client_cpu']:>5.2f} {row['peak_rss_mib']:>4.0f} MiB"
                         if row else f"{'–':>22}")
            print(line)


def names_with_costs(document):
    """Those that have a daemon, this program first."""
    return [name for name in [SELF, *peers_of(document)]
            if name in document["contestants"] and name != "bare"]


# Goals -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Goal:
    """What this program is to reach against a peer: in each of the jobs, or in their geometric mean."""

    place: str
    jobs: list
    peer: str
    factor: float
    mean: bool = False
    jobs_title: str = ""


GOALS = [
    Goal("tmpfs", SMALL + LARGE, "passthrough", 1.0, jobs_title="every job"),
    Goal("tmpfs", SMALL + LARGE, "passthrough", 1.5, mean=True),
    Goal("tmpfs", ["sr"], "passthrough", 3.0),
    *(Goal(place, TYPICAL, "passthrough-best", factor, mean=mean, jobs_title="every job")
      for place in PLACES for factor, mean in [(1.0, False), (1.8, True)]),
    Goal("tmpfs", SMALL, "qemu", 3.0, jobs_title="4 KiB jobs"),
    Goal("tmpfs", SMALL, "nbdfuse", 3.0, jobs_title="4 KiB jobs"),
    Goal("tmpfs", SMALL, "floor", 0.8, jobs_title="4 KiB jobs"),
    Goal("disk", ["sr", "sw"], "bare", 0.95),
    Goal("disk", ["rr32", "rw32"], "bare", 0.65),
    Goal("disk", ["rr32", "rw32"], "passthrough", 1.2),
    # One job alone varies more than this from run to run.
    Goal("tmpfs", SMALL + LARGE, "uncounted", 0.97, mean=True),
    Goal("disk", SMALL + LARGE, "uncounted", 0.97, mean=True),
]


def goals(document):
    """Judges every goal whose contestants were measured; one dictionary each."""
    rows = rows_of(document)
    judged = [judge(goal, rows) for goal in GOALS if goal.place in document["where"]]
    judged += [judge_second_job(place, rows) for place in document["where"]]
    return [verdict for verdict in judged if verdict]


def judge(goal, rows):
    found = ratios(rows, goal.place, goal.jobs, goal.peer)
    if not found:
        return None
    worst = min(found, key=found.get)
    value = geometric_mean(found) if goal.mean else found[worst]
    title = "geometric mean" if goal.mean else goal.jobs_title or ", ".join(goal.jobs)
    notes = []
    if goal.mean:
        notes.append(f"least {found[worst]:.2f}x in {worst}")
    elif len(goal.jobs) > 1:
        notes.append(f"in {worst}")
    if len(found) < len(goal.jobs):
        notes.append(f"of {len(goal.jobs)} jobs only {len(found)} measured")
    return {"where": goal.place, "goal": f"{title} >= {goal.factor:g}x {goal.peer}", "measured": value,
            "note": ", ".join(notes), "met": value >= goal.factor}


def judge_second_job(place, rows):
    """Two jobs at once must not be slower than one alone."""
    one, two = rows.get((place, "rr32", SELF)), rows.get((place, "rr32x2", SELF))
    if not one or not two or not one["median"]:
        return None
    value = two["median"] / one["median"]
    return {"where": place, "goal": "rr32x2 >= rr32 of extractfs itself", "measured": value, "note": "",
            "met": value >= 1}


def print_goals(document):
    judged = goals(document)
    print("\ngoals" if judged else "\ngoals: none of their contestants and jobs were measured")
    for verdict in judged:
        print(f"  {verdict['where']:7}{verdict['goal']:40}{verdict['measured']:>7.2f}x  "
              f"{'met' if verdict['met'] else 'missed':8}{verdict['note']}".rstrip())


# Markdown ----------------------------------------------------------------------------------------


def write_markdown(document, path):
    with open(path, "w") as file:
        file.write(markdown(document))


def markdown(document):
    """The README's tables, one paragraph or table after the other."""
    rows = rows_of(document)
    blocks = [
        f"`{command_line(document)}` on {machine(document)}: {rounds_and_size(document)}; IOPS unless said, × is extractfs over "
        "the other."
    ]
    for place in document["where"]:
        blocks += [f"{PLACES[place].capitalize()}:", speed_table(document, rows, place)]
        blocks += cannot_notes(document, place)
    if names_with_costs(document):
        blocks += ["CPU seconds of daemon + client, for a GiB in sr and sw, for 100,000 requests in the "
                   "other jobs; and the daemon's peak memory:", cost_table(document, rows)]
    return "\n\n".join(blocks) + "\n"


def command_line(document):
    """The command as one would type it, without the files that it wrote."""
    words, arguments = [], iter(document["command"][1:])
    for word in arguments:
        option, equals, _ = word.partition("=")
        if option not in ("--json", "--chart", "--markdown"):
            words.append(word)
        elif not equals:
            next(arguments, None)
    return shlex.join(["mount-scripts/bench", *words])


def rounds_and_size(document):
    """How it was measured, in one line."""
    rounds, once = document["rounds"], document["measured_once"]
    text = f"medians of {rounds} round{'s' if rounds > 1 else ''} of {document['runtime_seconds']:g} s a job"
    if once and rounds > 1:
        text += f" ({' and '.join(once)}: the first round only)"
    return text + f", image of {document['size_mib']} MiB, fio with direct=1"


def title_of(name):
    return TITLES.get(name, name)


def speed_table(document, rows, place):
    peers = peers_of(document) if SELF in document["contestants"] else []
    names = [SELF, *peers] if peers else document["contestants"]
    columns = [ratios(rows, place, document["jobs"], peer) for peer in peers]
    table = [["job", *map(title_of, names), *(f"× {peer}" for peer in peers)]]
    for job in document["jobs"]:
        table.append([job, *(speed(rows.get((place, job, name))) for name in names),
                      *(times(column.get(job)) for column in columns)])
    if peers:
        blank = [""] * len(names)
        table.append(["geometric mean", *blank, *(times(geometric_mean(column)) for column in columns)])
        table.append(["least", *blank, *(times(least(column)) for column in columns)])
    return pipes(table)


def speed(row):
    if not row:
        return "–"
    return f"{row['median']:,.0f}" + (" MB/s" if row["unit"] == "MB/s" else "")


def times(ratio):
    return f"{ratio:.2f}×" if ratio else "–"


def cannot_notes(document, place):
    """One sentence for each contestant that refused jobs here."""
    refused = {}
    for entry in document["unable"]:
        if entry["where"] == place:
            refused.setdefault(entry["contestant"], []).append(entry["job"])
    return [f"{title_of(name)} cannot do {', '.join(jobs)} here." for name, jobs in refused.items()]


def cost_table(document, rows):
    names = names_with_costs(document)
    table = [["where", "job", "unit", *map(title_of, names)]]
    for place in document["where"]:
        for job in document["jobs"]:
            found = [rows.get((place, job, name)) for name in names]
            table.append([place, job, "s/GiB" if job in LARGE else "s/100k",
                          *(f"{row['cpu']:.2f} + {row['client_cpu']:.2f}" if row else "–" for row in found)])
    peaks = [max((row["peak_rss_mib"] for key, row in rows.items() if key[2] == name), default=None)
             for name in names]
    table.append(["", "peak memory", "MiB", *(f"{peak:.0f}" if peak else "–" for peak in peaks)])
    return pipes(table, words=3)


def pipes(table, words=1):
    """A Markdown table, its first columns words and the others figures."""
    rule = ["---"] * words + ["---:"] * (len(table[0]) - words)
    lines = [table[0], rule, *table[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
