"""Prices are looked up, told with their source and day, and never made up."""

from __future__ import annotations

from datetime import date

import pytest

from nono.datasets import open_source
from nono.model import Usage
from nono.providers import Task, provider_named
from nono.runs.cost import Price, estimate, price_of
from nono.runs.plan import plan

OPENAI, GEMINI = provider_named("openai"), provider_named("gemini")
DAY = date(2026, 11, 22)


def _price(provider: object, model: str) -> Price:
    price, why = price_of(provider, model, day=DAY)  # type: ignore[arg-type]
    assert price is not None, why
    return price


@pytest.mark.parametrize(("provider", "model"), [(OPENAI, "gpt-4o-mini"), (GEMINI, "gemini-2.5-flash")])
def test_a_batch_price_is_told_with_source_and_day(provider: object, model: str) -> None:
    price = _price(provider, model)
    assert price.discounted
    assert price.source.startswith("genai-prices ")
    assert price.sentence().endswith(f"{price.source}, looked up 2026-11-22")


def test_gpt_4o_mini_costs_half_in_a_batch() -> None:
    price = _price(OPENAI, "gpt-4o-mini")
    assert (price.input_usd, price.output_usd) == (0.075, 0.3)


def test_a_price_without_a_discount_is_called_the_synchronous_one() -> None:
    price = _price(OPENAI, "text-embedding-3-small")
    assert not price.discounted
    assert "at the synchronous price (no batch price is known)" in price.sentence()


def test_an_unknown_model_has_no_price_and_a_sentence() -> None:
    price, why = price_of(OPENAI, "smollm2-135m-instruct", day=DAY)
    assert price is None
    assert why is not None and "no price of 'smollm2-135m-instruct' is known" in why


def test_a_model_of_another_provider_has_no_price_here() -> None:
    assert price_of(OPENAI, "gemini-2.5-flash", day=DAY)[0] is None


def test_cached_tokens_cost_what_cached_tokens_cost() -> None:
    price = Price("m", 2.0, 8.0, 0.5, "a test", DAY)
    assert price.cost_usd(Usage(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=400_000)) == pytest.approx(
        0.6 * 2.0 + 0.4 * 0.5 + 0.5 * 8.0
    )


def test_an_estimate_is_a_range_around_the_tokens() -> None:
    task = Task("chat", "gpt-4o-mini", parameters={"max_tokens": 10})
    planned = plan(open_source(["x" * 4_000] * 100), task, OPENAI, prompt="{{ text }}")
    found = estimate(planned, task, OPENAI, day=DAY)
    assert found.input_tokens == 100 * 1001
    assert found.low_usd == pytest.approx(100_100 * 0.67 * 0.075e-6 + 100 * 5 * 0.3e-6, rel=1e-3)
    assert found.high_usd == pytest.approx(100_100 * 1.33 * 0.075e-6 + 100 * 10 * 0.3e-6, rel=1e-3)


def test_an_estimate_without_a_price_says_so() -> None:
    task = Task("chat", "my-own-model")
    found = estimate(plan(open_source(["x"]), task, OPENAI, prompt="{{ text }}"), task, OPENAI, day=DAY)
    assert found.low_usd is None and found.high_usd is None
    assert "cost unknown: no price of 'my-own-model' is known" in found.sentence()


def test_embeddings_have_no_output() -> None:
    task = Task("embedding", "text-embedding-3-small")
    found = estimate(plan(open_source(["x" * 400]), task, OPENAI, prompt="{{ text }}"), task, OPENAI, day=DAY)
    assert found.high_usd == pytest.approx(101 * 1.33 * 0.02e-6, abs=1e-6)
