#!/usr/bin/env python3
"""Says what mount-scripts/bench measured, as tables."""

import statistics

LARGE = {"sr", "sw"}
PEERS = ["passthrough", "qemu", "nbdfuse", "bare", "floor"]


def summarise(place, job, name, samples):
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


def report(results, options):
    table = {(row["where"], row["job"], row["contestant"]): row for row in results}
    if "floor" in options.contestants:
        # Measured in the first place only, and valid for every place.
        for place in options.where[1:]:
            for job in options.jobs:
                table[place, job, "floor"] = table[options.where[0], job, "floor"]
    for place in options.where:
        print(f"\nimage in {place}")
        print_figures(place, options, table)
        print_ratios(place, options, table)
    print_costs(options, table)


def print_figures(place, options, table):
    header = f"  {'job':8}{'unit':6}" + "".join(f"{name:>18}" for name in options.contestants)
    print(header)
    for job in options.jobs:
        line = f"  {job:8}{'MB/s' if job in LARGE else 'IOPS':6}"
        for name in options.contestants:
            row = table.get((place, job, name))
            line += f"{row['median']:>11,.0f} ±{row['spread'] * 50:>3.0f} %" if row else f"{'–':>18}"
        print(line)


def print_ratios(place, options, table):
    peers = [name for name in PEERS if name in options.contestants]
    if "extractfs" not in options.contestants:
        return
    print(f"  {'ratio of extractfs to':22}" + "".join(f"{name:>14}" for name in peers))
    for job in options.jobs:
        line = f"  {job:22}"
        for peer in peers:
            other = table.get((place, job, peer), {"median": 0})["median"]
            ratio = table[place, job, "extractfs"]["median"] / other if other else 0
            line += f"{ratio:>13.2f}x" if ratio else f"{'–':>14}"
        print(line)


def print_costs(options, table):
    names = [name for name in options.contestants if name != "bare"]
    if not names:
        return
    print("\nCPU time of daemon + client (s per GiB at 1 MiB, s per 100,000 requests at 4 KiB), and the "
          "daemon's peak RSS")
    print(f"  {'where':7}{'job':8}{'unit':8}" + "".join(f"{name:>22}" for name in names))
    for place in options.where:
        for job in options.jobs:
            line = f"  {place:7}{job:8}{'s/GiB' if job in LARGE else 's/100k':8}"
            for name in names:
                row = table.get((place, job, name))
                line += (f"{row['cpu']:>7.2f} +{row['client_cpu']:>5.2f} {row['peak_rss_mib']:>4.0f} MiB"
                         if row else f"{'–':>22}")
            print(line)
