"""Money: what a run may cost, and what it did cost. Prices come from the package genai-prices, if it is there.

Estimates before, from bytes: input tokens are a guess (4 bytes a token, a third more or less), output tokens a wide
one. Actual costs after, from the tokens that the answers report. Where no price is known, none is made up.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from nono.errors import InputError
from nono.model import Usage
from nono.providers import Provider, Task
from nono.runs.money import dollars
from nono.runs.plan import Plan

_MILLION = 1_000_000
# Input: text of one language may have a third more or fewer tokens than the guess.
INPUT_RANGE = (0.67, 1.33)
# Output tokens of an answer if nobody limits them: a label, a page.
OUTPUT_RANGE = (5, 800)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens, in a batch (or without one: `batch` False).

    `discounted` is False where a batch has no price of its own that is known.
    """

    model: str
    input_usd: float
    output_usd: float
    cached_usd: float
    source: str
    day: date
    discounted: bool = True
    batch: bool = True

    def cost_usd(self, usage: Usage) -> float:
        """What tokens cost. Cached input tokens are part of the input tokens."""
        fresh = usage.input_tokens - usage.cached_tokens
        total = fresh * self.input_usd + usage.cached_tokens * self.cached_usd + usage.output_tokens * self.output_usd
        return total / _MILLION

    def sentence(self) -> str:
        """The price for people, with where it comes from and of which day."""
        how = "in a batch" if self.discounted else "at the synchronous price (no batch price is known)"
        return (
            f"{self.model}: ${self.input_usd:g} in, ${self.output_usd:g} out per million tokens "
            f"{how if self.batch else 'without a batch'}; "
            f"{self.source}, looked up {self.day.isoformat()}"
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan may cost. The dollars are None where the price is not known; `why` says so."""

    requests: int
    input_tokens: int
    low_usd: float | None
    high_usd: float | None
    price: Price | None
    why: str | None = None

    def sentence(self) -> str:
        if self.low_usd is None or self.high_usd is None or self.price is None:
            return f"~{self.input_tokens:,} input tokens; cost unknown: {self.why}"
        span = f"{dollars(self.low_usd)} to {dollars(self.high_usd)}"
        return f"~{self.input_tokens:,} input tokens, {span} ({self.price.sentence()})"

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "low_usd": self.low_usd,
            "high_usd": self.high_usd,
            "price": self.price.sentence() if self.price else None,
            "price_source": self.price.source if self.price else None,
            "price_date": self.price.day.isoformat() if self.price else None,
            "why": self.why,
        }


@cache
def _source() -> str:
    return f"genai-prices {version('genai-prices')}"


def price_of(
    provider: Provider, model: str, *, day: date | None = None, batch: bool = True
) -> tuple[Price | None, str | None]:
    """The batch price of a model (or, without `batch`, the synchronous one), or None and a sentence that says why.

    genai-prices answers with the synchronous price where it knows no batch price; that is told by the two being equal.
    `day` is the day whose prices count (default: today).
    """
    try:
        import genai_prices  # noqa: F401
    except ImportError:
        return None, "prices need the extra [prices]: pip install 'nono-batch[prices]'"
    return _price_on(day or datetime.now(UTC).date(), provider.priced_as, model, batch)


@lru_cache(maxsize=64)  # every engine that begins asks
def _price_on(day: date, provider: str, model: str, batch: bool) -> tuple[Price | None, str | None]:
    from genai_prices import Usage as Asked
    from genai_prices import calc_price

    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)

    def ask(context: Mapping[str, str] | None) -> Any:
        asked = Asked(input_tokens=1000, cache_read_tokens=0, output_tokens=1000)
        return calc_price(asked, model, provider_id=provider, genai_request_timestamp=at, price_context=context)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batched, standard = ask({"processing": "batch"}), ask(None)
    except LookupError:
        return None, f"no price of {model!r} is known to {_source()}"
    found = batched if batch else standard
    mtok = found.model_price
    cached = _per_million(getattr(mtok, "cache_read_mtok", None))
    input_usd, output_usd = _per_thousand(found.input_price), _per_thousand(found.output_price)
    return (
        Price(
            model=model,
            input_usd=input_usd,
            output_usd=output_usd,
            cached_usd=min(cached, input_usd) if cached is not None else input_usd,
            source=_source(),
            day=day,
            discounted=batched.total_price < standard.total_price or standard.total_price == 0,
            batch=batch,
        ),
        None,
    )


def _per_thousand(price: Decimal) -> float:
    return round(float(price) * 1000, 9)


def _per_million(price: Any) -> float | None:
    """A price for a million tokens; of a price in tiers, the first tier's."""
    price = getattr(price, "base", price)
    return None if price is None else float(price)


def check_budget(max_cost_usd: float | None, provider: Provider, model: str) -> None:
    """Raise InputError for a budget that nothing could be held against: the model has no known price."""
    price, why = price_of(provider, model)
    if max_cost_usd is not None and price is None:
        raise InputError(
            f"max_cost cannot be kept: {why}", hint="leave it out, and limit the run by its rows; nothing was sent"
        )


def estimate(plan: Plan, task: Task, provider: Provider, *, day: date | None = None) -> Estimate:
    """The range of what a plan may cost, before anything is sent."""
    price, why = price_of(provider, task.model, day=day)
    low = high = None
    if price is not None:
        low, high = (round(cost_usd(plan.requests, plan.tokens, task, price, at), 6) for at in (0, 1))
    return Estimate(plan.requests, plan.tokens, low, high, price, why)


@dataclass(frozen=True, slots=True)
class LastRows:
    """What so many requests may cost without a batch, at most; None where the price is not known, and `why`."""

    requests: int
    at_most_usd: float | None
    price: Price | None
    why: str | None = None

    def sentence(self) -> str:
        rows = f"the last {self.requests:,} rows may be asked without a batch"
        if self.price is None or self.at_most_usd is None:
            return f"{rows}, at the full price; cost unknown: {self.why}"
        return f"{rows}: at most {dollars(self.at_most_usd)} more ({self.price.sentence()})"

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "at_most_usd": self.at_most_usd,
            "price": self.price.sentence() if self.price else None,
            "why": self.why,
        }


def estimate_last(plan: Plan, task: Task, provider: Provider, rows: int) -> LastRows:
    """The high guess for the last rows of a plan, asked without a batch."""
    requests = min(rows, plan.requests)
    price, why = price_of(provider, task.model, batch=False)
    tokens = round(plan.tokens * requests / max(1, plan.requests))
    at_most = None if price is None else round(cost_usd(requests, tokens, task, price, 1), 6)
    return LastRows(requests, at_most, price, why)


def cost_usd(requests: int, tokens: int, task: Task, price: Price, at: int) -> float:
    """The low (`at` 0) or high (`at` 1) guess for so many requests with so many input tokens in all."""
    output = OUTPUT_RANGE[at]
    if task.kind in ("embedding", "moderation"):
        output = 0
    elif limit := _output_limit(task):
        output = min(output, limit) if at == 0 else limit
    usage = Usage(input_tokens=round(tokens * INPUT_RANGE[at]), output_tokens=requests * output)
    return price.cost_usd(usage)


def _output_limit(task: Task) -> int | None:
    asked = {**(task.parameters or {}), **(task.extra_body or {})}
    for name in ("generationConfig", "generation_config"):
        if isinstance(asked.get(name), Mapping):
            asked |= asked[name]
    limits = (asked.get(name) for name in _OUTPUT_LIMITS)
    limit = max((limit for limit in limits if isinstance(limit, int)), default=None)
    choices = next((asked[name] for name in ("n", "candidateCount") if isinstance(asked.get(name), int)), 1)
    return None if limit is None else limit * max(1, choices)


_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
