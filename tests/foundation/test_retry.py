"""When a call is tried again, and when it must not be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nono.errors import AnswerLost, InputError, NonoError, NotSent
from nono.exchange import Call, Flow, Reply, drive
from nono.retry import RetryPolicy, pause_before_retry, retry_after_s, retrying

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONGEST = RetryPolicy(tries=4, draw=lambda low, high: high)


def one_call(call: Call) -> Flow[Reply]:
    return (yield call)


class Script:
    """A sender that answers from a list, and counts."""

    def __init__(self, *answers: Reply | NonoError) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.slept: list[float] = []

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, NonoError):
            raise answer
        return answer

    def run(self, call: Call, policy: RetryPolicy = LONGEST) -> Reply:
        return drive(retrying(one_call(call), policy), self, sleep=self.slept.append)


@pytest.mark.parametrize("trouble", [Reply(429), Reply(500), Reply(503), Reply(408), NotSent("x"), AnswerLost("x")])
def test_a_call_that_may_be_repeated_is_repeated_on_trouble_that_passes(trouble: Reply | NonoError) -> None:
    script = Script(trouble, Reply(200))
    assert script.run(Call("GET", "/x")).status == 200
    assert len(script.calls) == 2


@pytest.mark.parametrize("trouble", [Reply(429), Reply(500), NotSent("x"), AnswerLost("x")])
def test_a_call_that_goes_out_once_goes_out_once(trouble: Reply | NonoError) -> None:
    script = Script(trouble, Reply(200))
    call = Call("POST", "/batches", once=True)
    if isinstance(trouble, NonoError):
        with pytest.raises(type(trouble)):
            script.run(call)
    else:
        assert script.run(call).status == trouble.status
    assert len(script.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_an_answer_about_the_request_is_final(status: int) -> None:
    script = Script(Reply(status))
    assert script.run(Call("GET", "/x")).status == status


def test_a_pause_that_is_longer_than_the_patience_of_a_call_ends_the_retries() -> None:
    script = Script(Reply(503, {"retry-after": "60"}))
    assert script.run(Call("GET", "/x", patience_s=10.0)).status == 503
    assert script.slept == []


@pytest.mark.parametrize("status", range(520, 525))
def test_a_proxy_that_could_not_get_through_is_asked_again(status: int) -> None:
    assert Script(Reply(status), Reply(200)).run(Call("GET", "/x")).status == 200


@pytest.mark.parametrize("trouble", [Reply(500), AnswerLost("x")])
def test_a_delete_whose_answer_was_lost_is_done_when_nothing_is_left(trouble: Reply | NonoError) -> None:
    assert Script(trouble, Reply(404)).run(Call("DELETE", "/x")).json() == {}
    assert Script(trouble, Reply(404)).run(Call("GET", "/x")).status == 404


def test_a_delete_that_never_left_and_finds_nothing_was_not_ours() -> None:
    assert Script(NotSent("x"), Reply(404)).run(Call("DELETE", "/x")).status == 404
    assert Script(Reply(404)).run(Call("DELETE", "/x")).status == 404


def test_pauses_grow_up_to_a_cap_and_the_number_of_tries_is_bounded() -> None:
    script = Script(*[Reply(503)] * 4)
    assert script.run(Call("GET", "/x")).status == 503
    assert script.slept == [0.5, 1.0, 2.0]


def test_jitter_is_full() -> None:
    policy = RetryPolicy(draw=lambda low, high: low)
    assert pause_before_retry(Call("GET", "/x"), Reply(500), None, 3, policy) == 0.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "200", "retry-after": "9"}, 0.2),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_a_servers_wish_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


def test_a_wish_within_reason_is_kept_and_an_absurd_one_ends_the_retries() -> None:
    call, policy = Call("GET", "/x"), RetryPolicy(draw=lambda low, high: low)
    assert pause_before_retry(call, Reply(429, {"retry-after": "9"}), None, 0, policy) == 9.0
    assert pause_before_retry(call, Reply(429, {"retry-after": "86400"}), None, 0, policy) is None


def test_the_servers_own_verdict_counts() -> None:
    call = Call("GET", "/x")
    assert pause_before_retry(call, Reply(503, {"x-should-retry": "false"}), None, 0, LONGEST) is None
    assert pause_before_retry(call, Reply(400, {"x-should-retry": "true"}), None, 0, LONGEST) is not None


def test_a_status_that_is_final_for_a_call_is_not_repeated() -> None:
    script = Script(Reply(409))
    assert script.run(Call("POST", "/cancel", final=frozenset({409}))).status == 409


def test_an_error_of_ours_is_not_repeated() -> None:
    script = Script(InputError("wrong"))
    with pytest.raises(InputError):
        script.run(Call("GET", "/x"))
