"""The main job, without a key: real sentences, a real model on this machine, the OpenAI Batch protocol in between.

Starts the local server in this process, runs `nono.run` over 200 sentences of product reviews, shows the answers beside
the ratings of the people who read them, and what the same run would cost at the providers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import nono
from nono import models
from nono.cli.live import LiveView
from nono.model import Usage
from nono.providers import provider_named
from nono.runs.cost import price_of
from nono.server.app import LocalServer

HERE = Path(__file__).parent
DATA = HERE / "amazon_reviews.csv"
MODEL = "smollm2-135m-instruct"
# What the same tokens would cost elsewhere.
ELSEWHERE = ("openai/gpt-5-nano", "openai/gpt-4o-mini", "gemini/gemini-2.5-flash-lite")
# Ratings go from -4 to +4, the mean of twenty people; what lies this close to 0 they did not call either way.
UNDECIDED = 0.5
BAR_CELLS = 40
TEXT_CELLS = 52  # the table fits into a terminal of 80

SHELL = (
    "nono run examples/amazon_reviews.csv -p '{{ text }}' -s @examples/sentiment.system.txt "
    f"--schema examples/sentiment.schema.json --id id -m openai/{MODEL} --temperature 0 --max-tokens 20 -o results.csv"
)

console = Console(soft_wrap=True, highlight=False)


def main() -> None:
    began = time.monotonic()
    console.print(f"[bold]nono[/bold]: {DATA.name} through the Batch protocol, answered by {MODEL} on this machine")
    console.print(f"the same in a shell, beside `nono serve --model {MODEL}`:\n  {SHELL}\n")
    models.pull(MODEL)
    with tempfile.TemporaryDirectory(prefix="nono-demo-") as folder, LocalServer(MODEL) as server:
        os.environ |= {"OPENAI_BASE_URL": server.openai_base_url, "OPENAI_API_KEY": "local", "NO_PROXY": "127.0.0.1"}
        run = nono.run(
            DATA,
            prompt="{{ text }}",
            system=(HERE / "sentiment.system.txt").read_text("utf-8").strip(),
            schema=json.loads((HERE / "sentiment.schema.json").read_text("utf-8")),
            model=f"openai/{MODEL}",
            id="id",
            temperature=0.0,
            max_tokens=20,
            home=folder,
            name="demo",
        )
        with LiveView(partial(run.ledger.error_counts, run.id)) as view:
            status = run.wait(view.show)
        rows = list(run.results())
        for name in ("results.jsonl", "results.csv"):
            run.export(name)
    show_answers(rows)
    show_labels(rows)
    show_agreement(rows)
    show_numbers(rows, time.monotonic() - began)
    console.print("\nwritten: results.jsonl, results.csv")
    sys.exit(0 if status.succeeded == status.rows else 3)


def show_answers(rows: list[dict[str, Any]]) -> None:
    console.print("\nthe first answers")
    table = Table(box=None, pad_edge=False)
    for column in ("id", "people", "model", "text"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=TEXT_CELLS)
    for row in rows[:12]:
        table.add_row(row["id"], f"{float(row['rating']):+.1f}", row["sentiment"] or row["error_code"], row["text"])
    console.print(table)


def show_labels(rows: list[dict[str, Any]]) -> None:
    console.print("\nlabels")
    counts = Counter(row["sentiment"] or "no answer" for row in rows)
    for label, count in counts.most_common():
        console.print(f"  {label:<10} {'█' * round(BAR_CELLS * count / len(rows))} {count}")


def show_agreement(rows: list[dict[str, Any]]) -> None:
    """How often the model's label is the side that people took, where they took one; beside the best constant guess."""
    decided = [row for row in rows if row["sentiment"] and abs(float(row["rating"])) >= UNDECIDED]
    sides = ["positive" if float(row["rating"]) > 0 else "negative" for row in decided]
    hits = sum(row["sentiment"] == side for row, side in zip(decided, sides, strict=True))
    constant = max(Counter(sides).values())
    console.print(
        f"\nagreement with the human ratings: {hits} of {len(decided)} ({hits / len(decided):.0%}); "
        f"always saying the more frequent side would be right {constant} times ({constant / len(decided):.0%})"
    )


def show_numbers(rows: list[dict[str, Any]], seconds: float) -> None:
    usage = Usage(sum(row["input_tokens"] for row in rows), sum(row["output_tokens"] for row in rows))
    console.print(
        f"{len(rows)} rows in {seconds:.0f} s, {usage.input_tokens:,} input and {usage.output_tokens:,} output tokens"
    )
    for model in ELSEWHERE:
        provider, _, name = model.partition("/")
        price, why = price_of(provider_named(provider), name)
        cost = f"${price.cost_usd(usage):.4f}  ({price.sentence()})" if price else why
        console.print(f"  the same tokens at {model}: {cost}")


if __name__ == "__main__":
    main()
