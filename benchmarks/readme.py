"""The README's paragraph about speed, printed from the page of results: figures stand in one place.

    python -m benchmarks.readme

A paragraph whose figures are not on the page is a test's failure.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "RESULTS.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks -->\n", "\n<!-- end -->"

TEXT = (
    "On {machine}, planning a million rows of a CSV is {plan} as fast as a plain `json.dumps` loop, settling as many "
    "answers {settle} as fast as a `json.loads` loop that writes nothing, within {memory} for five million rows. A run "
    "of 200,000 rows against the local server is {run} as fast as a script with the official SDK, with {run_memory} of "
    "its memory; a shard costs {calls} calls and {commits} commits. {met} goals are met, the others are named: "
    "[all figures](benchmarks/RESULTS.md), made by `make bench`."
)
SCALED = "**Scaled by"
WITHOUT_FIGURES = (
    "Time and memory are measured against plain loops and the official SDKs by `make bench`: "
    "[the page of results](benchmarks/RESULTS.md)."
)
# Word → the job and what was measured of it, as the page says them.
FIGURES = {
    "plan": ("plan CSV", "times as fast as json"),
    "settle": ("settle", "times as fast as json"),
    "memory": ("memory of settling", "peak memory"),
    "run": ("whole run", "times as fast as the official SDK, by hand"),
    "run_memory": ("whole run", "the memory of the official SDK, by hand"),
    "calls": ("engine", "HTTP calls a shard, polls aside"),
    "commits": ("engine", "commits a shard"),
}


def paragraph(page: str) -> str:
    """What the README says, of the page's figures; a page that was scaled down has none to boast of."""
    if SCALED in page:
        return WITHOUT_FIGURES
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    measured = {(row[0], row[1]): row[3] for row in rows if len(row) >= 4}
    found = {word: measured[place] for word, place in FIGURES.items()}
    met = re.search(r"(\d+ of \d+) goals", page)
    machine = re.search(r"^(\d+ cores) ", page, flags=re.MULTILINE)
    assert met is not None and machine is not None
    return TEXT.format(met=met[1], machine=machine[1], **found)


def replace_paragraph(readme: str, page: str) -> str:
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}{paragraph(page)}{END}{rest.split(END, 1)[1]}"


def main() -> None:
    README.write_text(replace_paragraph(README.read_text("utf-8"), PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
