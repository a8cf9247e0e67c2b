"""How often the embedded model's sentiment is the people's: the example's prompt, on sentences it was not chosen on.

    python benchmarks/sentiment.py                  agreement and speed on 200 sentences nothing was tuned on
    python benchmarks/sentiment.py --system FILE    the same with another system prompt, on the sentences for tuning
    python benchmarks/sentiment.py --write          draw examples/amazon_reviews.csv again

A sentence is positive or negative if the mean of 20 people's ratings is at least half a point from zero; the others,
which people did not call either way, are left out. Half and half of each: a guess is right half of the time. The three
samples share no sentence.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nono import models
from nono.server.models import CHAT
from nono.server.models.embedded import EmbeddedModel

HERE = Path(__file__).parent
SENTENCES = HERE / "amazon_review_snippets.csv"
EXAMPLES = HERE.parent / "examples"
SHOWN = EXAMPLES / "amazon_reviews.csv"
SYSTEM = EXAMPLES / "sentiment.system.txt"
SCHEMA = EXAMPLES / "sentiment.schema.json"
MODEL = "smollm2-135m-instruct"
# Sentences shown in the example, for choosing a prompt, for judging the chosen one.
SIZES = (200, 300, 400)
LEAST_OPINION = 0.5
LEAST_WORDS = 3
SEED = 2026
LABELS = ("positive", "negative")


@dataclass(frozen=True, slots=True)
class Review:
    """A sentence and what people thought of it."""

    id: str
    rating: float
    text: str

    @property
    def label(self) -> str:
        return "positive" if self.rating > 0 else "negative"


def read_reviews() -> list[Review]:
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        return [Review(row["id"], float(row["rating"]), row["text"]) for row in csv.DictReader(file)]


def draw(reviews: list[Review]) -> tuple[list[Review], list[Review], list[Review]]:
    """The three samples."""
    chance = random.Random(SEED)
    usable = {review.text: review for review in reviews if len(review.text.split()) >= LEAST_WORDS}
    halves = []
    for label in LABELS:
        half = [r for r in usable.values() if abs(r.rating) >= LEAST_OPINION and r.label == label]
        chance.shuffle(half)
        halves.append(half)
    samples, start = [], 0
    for size in SIZES:
        sample = [review for half in halves for review in half[start : start + size // 2]]
        chance.shuffle(sample)
        samples.append(sample)
        start += size // 2
    shown, tuning, held_out = samples
    return shown, tuning, held_out


def write(shown: list[Review]) -> None:
    with SHOWN.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["id", "rating", "text"])
        out.writerows([review.id, review.rating, review.text] for review in shown)


def label(model: EmbeddedModel, system: str, review: Review) -> str:
    """What the model says, asked as `nono run` asks."""
    form = {"name": "output", "strict": True, "schema": json.loads(SCHEMA.read_text("utf-8"))}
    status, answer = model.answer(
        CHAT,
        {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": review.text}],
            "temperature": 0,
            "max_tokens": 20,
            "response_format": {"type": "json_schema", "json_schema": form},
        },
    )
    assert status == 200, answer
    said: str = json.loads(answer["choices"][0]["message"]["content"])["sentiment"]
    return said


def measure(system: str, sample: list[Review]) -> str:
    models.pull(MODEL)
    model = EmbeddedModel(MODEL)
    began = time.monotonic()
    with ThreadPoolExecutor(model.slots) as threads:
        said = list(threads.map(lambda review: label(model, system, review), sample))
    took_s = time.monotonic() - began
    model.close()
    hits = sum(one == review.label for one, review in zip(said, sample, strict=True))
    always = max(Counter(review.label for review in sample).values())
    return (
        f"{hits} of {len(sample)} as the people said ({hits / len(sample):.1%}; one label for all: "
        f"{always / len(sample):.1%}), {said.count('positive')} said positive, {len(sample) / took_s:.1f} rows/s"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--system", type=Path, help="another system prompt, judged on the sentences for tuning")
    options.add_argument("--write", action="store_true", help="draw examples/amazon_reviews.csv again")
    options.add_argument("--rows", type=int, default=200, help="how many sentences (200)")
    given = options.parse_args()
    shown, tuning, held_out = draw(read_reviews())
    if given.write:
        write(shown)
        return
    sample = (tuning if given.system else held_out)[: given.rows]
    print(measure((given.system or SYSTEM).read_text("utf-8").strip(), sample))


if __name__ == "__main__":
    main()
