"""Waiting for a batch: patient with trouble that passes, never longer than was said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nono.errors import InvalidRequest, NonoError, NotSent, ProviderUnavailable, WaitTimeout
from nono.exchange import Call, Flow, Reply, adrive, drive
from nono.waiting import wait_until_ended


class World:
    """States in order, and a clock that only pauses move."""

    def __init__(self, *states: str | NonoError) -> None:
        self.states = list(states)
        self.now = 100.0
        self.pauses: list[float] = []
        self.told: list[tuple[str, float]] = []

    def poll(self) -> Flow[str]:
        state = self.states.pop(0)
        if isinstance(state, NonoError):
            raise state
        return state
        yield

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def flow(self, **options: Any) -> Flow[str]:
        return wait_until_ended(
            self.poll,
            ended=lambda state: state == "done",
            describe=str,
            callback=lambda state, elapsed: self.told.append((state, elapsed)),
            monotonic=lambda: self.now,
            **{"poll_interval_s": 30.0, **options},
        )

    def wait(self, **options: Any) -> str:
        return drive(self.flow(**options), lambda call: None, sleep=self.sleep)  # type: ignore[arg-type,return-value]


def test_the_callback_hears_of_every_poll_the_last_included() -> None:
    world = World("queued", "running", "done")
    assert world.wait() == "done"
    assert world.told == [("queued", 0.0), ("running", 30.0), ("done", 60.0)]


def test_a_timeout_is_a_timeout_error_with_the_last_state_and_the_last_pause_is_cut() -> None:
    world = World("running", "running", "running")
    with pytest.raises(TimeoutError) as caught:
        world.wait(timeout_s=45.0)
    assert world.pauses == [30.0, 15.0]
    assert isinstance(caught.value, WaitTimeout)
    assert caught.value.last == "running"


def test_a_timeout_of_zero_looks_once() -> None:
    assert World("done").wait(timeout_s=0) == "done"
    with pytest.raises(TimeoutError):
        World("running").wait(timeout_s=0)


def test_trouble_that_passes_is_waited_out() -> None:
    assert World("running", NotSent("no network"), "done").wait() == "done"


def test_an_address_where_nobody_has_ever_answered_is_given_up_after_two_minutes() -> None:
    world = World(*[NotSent("no such host")] * 9)
    with pytest.raises(NotSent, match="no such host"):
        world.wait()
    assert world.pauses == [30.0] * 4


def test_an_outage_is_waited_out_however_long_it_lasts() -> None:
    assert World("running", *[NotSent("no network")] * 9, "done").wait() == "done"
    unavailable = ProviderUnavailable("try later", provider="p", status=503)
    assert World(unavailable, *[NotSent("no network")] * 9, "done").wait() == "done"


def test_a_wait_with_a_timeout_ends_with_it_wherever_nobody_answers() -> None:
    with pytest.raises(TimeoutError):
        World(*[NotSent("no such host")] * 9).wait(timeout_s=150.0)


def test_trouble_that_stays_is_raised_at_once() -> None:
    with pytest.raises(InvalidRequest):
        World("running", InvalidRequest("no", provider="p", status=400)).wait()


def test_an_awaitable_callback_is_awaited() -> None:
    world = World("done")
    heard: list[str] = []

    async def callback(state: str, elapsed: float) -> None:
        await asyncio.sleep(0)
        heard.append(state)

    flow = wait_until_ended(
        world.poll, ended=lambda _: True, describe=str, poll_interval_s=1, callback=callback, monotonic=lambda: 0.0
    )
    assert asyncio.run(adrive(flow, lambda call: None)) == "done"  # type: ignore[arg-type,return-value]
    assert heard == ["done"]


@pytest.mark.parametrize("options", [{"poll_interval_s": -1.0}, {"timeout_s": -1.0}])
def test_negative_durations_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"(poll_interval|timeout) is -1.0"):
        World("done").wait(**options)


def test_a_hung_connection_may_not_outlast_the_wait() -> None:
    """Five tries share what is left; a moment is always allowed."""
    answers: list[Any] = [NotSent("broken"), Reply(200, {}, b'"running"'), Reply(200, {}, b'"done"')]
    patience: list[float | None] = []
    now = 0.0

    def poll() -> Flow[str]:
        try:
            return (yield Call("GET", "/b")).json()  # type: ignore[no-any-return]
        except NotSent:
            return "unseen"

    def send(call: Call) -> Reply:
        nonlocal now
        now += 40.0
        patience.append(call.patience_s)
        said = answers.pop(0)
        if isinstance(said, NonoError):
            raise said
        return said  # type: ignore[no-any-return]

    def flow(timeout_s: float | None) -> Flow[str]:
        return wait_until_ended(
            poll,
            ended=lambda state: state == "done",
            describe=str,
            poll_interval_s=0,
            timeout_s=timeout_s,
            monotonic=lambda: now,
        )

    assert drive(flow(100.0), send) == "done"
    assert patience == [20.0, 12.0, 5.0]
    answers.append(Reply(200, {}, b'"done"'))
    assert drive(flow(None), send) == "done"
    assert patience[-1] is None
