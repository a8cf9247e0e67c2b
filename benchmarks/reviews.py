"""The sentences of the example and of the measurements: which rows, drawn how.

    python benchmarks/reviews.py amazon_review_snippets.csv > examples/amazon_reviews.csv

The source is the list of rated sentences of the VADER data set (see examples/amazon_reviews.NOTICE.md) as CSV with the
columns id, rating (mean of 20 people, -4 to 4) and text. A sentence is positive or negative if that mean is at least
half a point from zero; the others, which the raters did not agree on or saw as neutral, are left out. Half and half of
each, so that a guess is right half of the time.
"""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import dataclass
from pathlib import Path

SHOWN = 200
TUNING = 300
HELD_OUT = 400
LEAST_OPINION = 0.5
LEAST_WORDS = 3
SEED = 2026


@dataclass(frozen=True, slots=True)
class Review:
    """A sentence and what people thought of it."""

    id: str
    rating: float
    text: str

    @property
    def label(self) -> str:
        return "positive" if self.rating > 0 else "negative"


def read_reviews(path: Path) -> list[Review]:
    with path.open(encoding="utf-8", newline="") as file:
        return [Review(row["id"], float(row["rating"]), row["text"]) for row in csv.DictReader(file)]


def draw(reviews: list[Review]) -> tuple[list[Review], list[Review], list[Review]]:
    """Three samples that share no sentence: shown in the example, for tuning prompts, for judging the chosen one."""
    chance = random.Random(SEED)
    usable = {review.text: review for review in reviews if len(review.text.split()) >= LEAST_WORDS}
    halves = []
    for label in ("positive", "negative"):
        half = [r for r in usable.values() if abs(r.rating) >= LEAST_OPINION and r.label == label]
        chance.shuffle(half)
        halves.append(half)
    samples, start = [], 0
    for size in (SHOWN, TUNING, HELD_OUT):
        sample = [review for half in halves for review in half[start : start + size // 2]]
        chance.shuffle(sample)
        samples.append(sample)
        start += size // 2
    shown, tuning, held_out = samples
    return shown, tuning, held_out


def main() -> None:
    shown, _, _ = draw(read_reviews(Path(sys.argv[1])))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["id", "rating", "text"])
    out.writerows([review.id, review.rating, review.text] for review in shown)


if __name__ == "__main__":
    main()
