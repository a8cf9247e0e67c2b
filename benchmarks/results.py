"""The page of results: what was aimed at and what came, then every job with all its ways."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.job import OURS, Found, Goal, Job, median
from benchmarks.machine import describe
from benchmarks.plot import Bar, draw
from benchmarks.readme import SCALED

HOW = """Every way of doing a job is a process of its own; the ways take turns. Seconds are by the clock, medians of the
repeats, ± half of the distance between the fastest and the slowest; *cpu* is processor time of the process and its
children; memory is the peak of both together. Ratios are of figures of this run, on this machine."""


def write(jobs: Sequence[Job], found: Mapping[str, Found], into: Path, scale: float, took_s: float) -> Path:
    """Write RESULTS.md and RESULTS.svg; returns the page's path."""
    bars = [
        Bar(f"{job.name}: {goal.what}", value, goal.least, goal.most, goal.unit, goal.met(value))
        for job in jobs
        for goal in job.goals
        for value in [goal.of(found[job.name])]
    ]
    (into / "RESULTS.svg").write_text(draw(bars), "utf-8")
    met = sum(bar.met for bar in bars)
    made = f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes"
    lines = [
        "# What nono costs, measured",
        "",
        f"{made}; {met} of {len(bars)} goals are met.",
        "What was tried to get there, and what it gave: [NOTES.md](NOTES.md). Other libraries: [PEERS.md](PEERS.md).",
        "",
        f"{describe()}.",
        "",
        HOW,
    ]
    if scale != 1:
        lines += ["", f"{SCALED} {scale:g}: this page shows that everything runs, not how fast it is.**"]
    lines += [
        "",
        "![how far each goal is reached](RESULTS.svg)",
        "",
        "| job | what | goal | measured | |",
        "|---|---|---:|---:|---|",
    ]
    for job in jobs:
        for goal in job.goals:
            lines.append(_goal_line(job, goal, goal.of(found[job.name])))
    for job in jobs:
        lines += ["", f"## {job.name[0].upper()}{job.name[1:]}", "", job.says, "", *_table(job, found[job.name], scale)]
    page = into / "RESULTS.md"
    page.write_text("\n".join(lines) + "\n", "utf-8")
    return page


def _goal_line(job: Job, goal: Goal, value: float) -> str:
    bound = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}"
    met = "yes" if goal.met(value) else "**no**"
    return f"| {job.name} | {goal.what} | {bound}{goal.unit} | {number(value)}{goal.unit} | {met} |"


def _table(job: Job, found: Found, scale: float) -> list[str]:
    compared = OURS in found
    titles = ["way", job.unit, "seconds", "spread", "cpu s", "peak MB", *job.columns.values()]
    titles += ["time of nono's"] if compared else []
    lines = [f"| {' | '.join(titles)} |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    for way in job.ways:
        runs = found[way.name]
        cells = [
            way.name,
            f"{job.scaled(scale, way):,}",
            number(median(found, way.name)),
            spread([run.seconds for run in runs]),
            number(median(found, way.name, "cpu_s")),
            f"{max(run.peak_mb for run in runs):.0f}",
            *(number(median(found, way.name, note)) if note in runs[0].notes else "" for note in job.columns),
        ]
        same_size = job.scaled(scale, way) == job.scaled(scale)
        if compared:
            cells.append(f"{median(found, way.name) / median(found, OURS):.2f} ×" if same_size else "")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", f"Repeats: {len(next(iter(found.values())))}."]


def number(value: float) -> str:
    """Three digits that count, in plain figures."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def spread(seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds)
    return f"± {(max(seconds) - min(seconds)) / 2 / middle:.0%}" if middle else ""
