"""Plans to copy, made once a process; and the figures, told together at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from lives import Plan, folder, planned


@pytest.fixture(scope="session")
def plan_of() -> Iterator[Callable[..., Plan]]:
    """Plans by their texts; copied, never lived themselves."""
    made: dict[object, Plan] = {}

    def find(texts: tuple[str, ...], **words: int) -> Plan:
        key = (texts, *sorted(words.items()))
        if key not in made:
            made[key] = planned(folder(), texts, **words)
        return made[key]

    yield find
    for plan in made.values():
        shutil.rmtree(plan.home, ignore_errors=True)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a figure; all are printed at the end, also by many processes."""
    return lambda line: record_property("figure", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("figures (0 in N: below 3/N at 95 %)")
        for line in sorted(lines):
            terminalreporter.write_line(line)
