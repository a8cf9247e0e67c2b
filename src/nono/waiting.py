"""Wait for a remote batch to end: poll, tell, pause; patient with trouble that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from nono.errors import InputError, NonoError, NotSent, WaitTimeout
from nono.exchange import Call, Flow, Pause, Step, Tell
from nono.retry import RetryPolicy

B = TypeVar("B")
# An answer that takes a moment is no hang, however little is left of the wait.
_LEAST_PATIENCE_S = 5.0
# Where nobody has answered a single call for so long, nobody will: the address is wrong, or there is no network.
UNREACHED_S = 120.0


def wait_until_ended(
    poll: Callable[[], Flow[B]],
    *,
    ended: Callable[[B], bool],
    describe: Callable[[B], str],
    poll_interval_s: float,
    timeout_s: float | None = None,
    callback: Callable[[B, float], Any] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Flow[B]:
    """Poll until the batch has ended, and return it as it is then, whatever it ended as.

    `callback(batch, elapsed_s)` is called at every poll, the last included. A transient error is not the batch's end:
    the next poll comes after the interval, however long an outage lasts. The last pause is cut to the time left.

    Raises WaitTimeout (a TimeoutError) after `timeout_s` seconds, with the batch as last seen; the batch goes on.
    Raises at once what will not get better: a refused key, an unknown batch; InputError for times that are none.
    Without a timeout, raises NotSent where nobody has answered at all for `UNREACHED_S` seconds.
    """
    if not _is_duration(poll_interval_s) or poll_interval_s == float("inf"):
        raise InputError(f"poll_interval is {poll_interval_s!r}", hint="seconds between two looks, 0 or more")
    if timeout_s is not None and not _is_duration(timeout_s):
        raise InputError(f"timeout is {timeout_s!r}", hint="seconds, 0 or more; None waits as long as it takes")
    if callback is not None and not callable(callback):
        raise InputError(f"callback is {callback!r}", hint="a function of two arguments: what is seen, and the seconds")
    began = monotonic()
    last: B | None = None
    reached = False
    while True:
        try:
            left_s = float("inf") if timeout_s is None else timeout_s - (monotonic() - began)
            last = yield from _within(poll(), left_s)
        except NonoError as error:
            reached = reached or not isinstance(error, NotSent)
            nobody_there = not reached and timeout_s is None and monotonic() - began >= UNREACHED_S
            if nobody_there or not error.transient:
                raise
        else:
            reached = True
            if callback is not None:
                yield Tell(callback, (last, monotonic() - began))
            if ended(last):
                return last
        elapsed_s = monotonic() - began
        if timeout_s is not None and elapsed_s >= timeout_s:
            seen = describe(last) if last is not None else "never seen"
            raise WaitTimeout(
                f"gave up waiting after {round(elapsed_s, 1):,.12g} s; last state: {seen}",
                last=last,
                hint="the batch goes on at the provider; wait again later, or cancel it",
            )
        left_s = float("inf") if timeout_s is None else timeout_s - elapsed_s
        yield Pause(min(poll_interval_s, left_s))


def _within(flow: Flow[B], left_s: float) -> Flow[B]:
    """The flow, with calls that a connection that hangs cannot stretch far beyond the end of the wait."""
    if left_s == float("inf"):
        return (yield from flow)
    patience_s = max(_LEAST_PATIENCE_S, left_s / RetryPolicy().tries)  # each call is tried so often
    advance: Callable[[], Step] = partial(next, flow)
    try:
        while True:
            try:
                step = advance()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                answer = yield (replace(step, patience_s=patience_s) if isinstance(step, Call) else step)
                advance = partial(flow.send, answer)
            except NonoError as error:
                advance = partial(flow.throw, error)
    finally:
        flow.close()


def _is_duration(seconds: object) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0
