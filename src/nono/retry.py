"""Again? And when? Pure decisions, and `retrying`, the layer that applies them to a whole flow."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from nono.errors import NonoError, NotSent, TransportError
from nono.exchange import Call, Flow, Pause, Reply

T = TypeVar("T")

# Statuses that say "not now" rather than "not like this". 520 to 524 are those of a proxy that could not get through:
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call that is safe to repeat is repeated.

    The n-th pause is drawn evenly from 0 to min(`cap_s`, `first_s` · 2ⁿ) ("full jitter"), and is never shorter than
    what the server asked for, up to `longest_hint_s`; a longer hint ends the retries: the caller decides about those.
    """

    tries: int = 5
    first_s: float = 0.5
    cap_s: float = 30.0
    longest_hint_s: float = 120.0
    draw: Callable[[float, float], float] = random.uniform


def retrying(flow: Flow[T], policy: RetryPolicy | None = None) -> Flow[T]:
    """The same flow, with every call that may be repeated repeated on transient trouble.

    Calls marked `once` pass through untouched. What is still wrong after the last try reaches the flow as it came. A
    DELETE that finds nothing when it is repeated has been done by one whose answer did not come.
    """
    policy = policy or RetryPolicy()
    outcome: Any = None
    error: NonoError | None = None
    try:
        while True:
            try:
                step = flow.throw(error) if error is not None else flow.send(outcome)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            outcome, error = None, None
            tries = 1 if not isinstance(step, Call) or step.once else policy.tries
            may_be_done = False
            for attempt in range(tries):
                try:
                    outcome, error = (yield step), None
                except NonoError as raised:
                    outcome, error = None, raised
                if may_be_done and outcome is not None and outcome.status in (404, 410):
                    outcome = Reply(200, body=b"{}")
                if attempt + 1 == tries:
                    break
                assert isinstance(step, Call)
                wait_s = pause_before_retry(step, outcome, error, attempt, policy)
                if wait_s is None:
                    break
                may_be_done |= step.method == "DELETE" and not isinstance(error, NotSent)
                yield Pause(wait_s)
    finally:
        flow.close()


def pause_before_retry(
    call: Call, reply: Reply | None, error: NonoError | None, attempt: int, policy: RetryPolicy
) -> float | None:
    """Seconds to wait before trying `call` again, or None if it is not to be tried again.

    `attempt` counts from 0. Exactly one of `reply` and `error` is set.
    """
    hint_s: float | None = None
    if reply is not None:
        wish = reply.headers.get("x-should-retry")
        transient = reply.status in TRANSIENT_STATUSES and reply.status not in call.final
        if wish == "false" or not (transient or (wish == "true" and not reply.ok)):
            return None
        hint_s = retry_after_s(reply.headers)
        if hint_s is not None and hint_s > policy.longest_hint_s:
            return None
    elif not isinstance(error, TransportError):
        return None
    pause_s = max(policy.draw(0.0, min(policy.cap_s, policy.first_s * 2**attempt)), hint_s or 0.0)
    return None if call.patience_s is not None and pause_s > call.patience_s else pause_s


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date.

    None where there is no hint or it makes no sense (negative, not a number, not finite).
    """
    milliseconds = _finite(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _finite(value)
    if seconds is not None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _finite(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
