"""Single steps of submitting, watching and giving up: what is asked when, what is kept, and what a person reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lives import SETTINGS, Plan, begin_after, opened, planned
from test_straggler_crashes import BEFORE_S, WINDOW_S, LateWorld
from world import Crash, Fault, Weather, World

from nono.errors import InputError, NotFound, NotSent
from nono.exchange import Call, Reply
from nono.facts import Facts
from nono.providers import Task, provider_named
from nono.runs.adopting import requests_of
from nono.runs.bench import FinishSync
from nono.runs.harvest import CLEAN_TRIES
from nono.runs.ledger import AttemptRow
from nono.runs.rounds import plan_next_round
from nono.runs.run import Run
from nono.runs.submission import FILE_LAG_TRIES, MOST_FILES, names_a_missing_file

ONE = ("ok 1", "ok 2")
ONCE = replace(SETTINGS, max_attempts=1)
# Trouble that lasts for half a minute, rather than a day, is called permanent.
HASTY = replace(SETTINGS, patience=5)
CREATE, LIST = "POST /batches", "GET /batches"


@dataclass
class Life:
    """A run in its world, with the instants of its calls, in seconds."""

    home: Path
    run_id: str
    world: World
    run: Run
    times: list[tuple[str, float]] = field(default_factory=list)

    def reopen(self) -> None:
        """The run as it is opened after a change of the world."""
        self.run.workspace.close()
        self.run = opened(self.home, self.run_id, self.world)

    def at(self, what: str) -> list[float]:
        return [round(at, 1) for call, at in self.times if call == what]

    def noted(self, what: str) -> list[dict[str, Any]]:
        return [entry for entry in self.world.log if entry["what"] == what]

    def attempts(self) -> list[AttemptRow]:
        return self.run.ledger.attempts(self.run.id)

    def states(self) -> list[str]:
        return [attempt.state.value for attempt in self.attempts()]

    def told(self, name: str) -> list[dict[str, Any]]:
        """The details of the run's events of this name."""
        return [json.loads(event.detail) for event in self.run.ledger.events(self.run.id) if event.name == name]

    def rows(self) -> list[dict[str, Any]]:
        return list(self.run.results())

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows()]


Begin = Callable[..., Life]
Answer = Callable[[Call], Reply | None]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    lives: list[Life] = []

    def start(
        texts: tuple[str, ...] = ONE, weather: Weather | None = None, *, answer: Answer | None = None, **words: Any
    ) -> Life:
        """A run that has been planned; `answer` may answer a call in the world's place."""
        settings, kind = words.pop("settings", SETTINGS), words.pop("kind", World)
        plan: Plan = planned(tmp_path / f"life-{len(lives)}", texts, settings=settings, **words.pop("plan", {}))
        world = begin_after(kind(weather, **words), plan)
        life = Life(plan.home, plan.run_id, world, opened(plan.home, plan.run_id, world))
        _watch(life, answer)
        lives.append(life)
        return life

    yield start
    for life in lives:
        life.run.workspace.close()
        shutil.rmtree(life.home, ignore_errors=True)


def _watch(life: Life, answer: Answer | None = None) -> None:
    send = life.world.send

    def noting(call: Call) -> Reply:
        said = answer(call) if answer else None
        life.times.append((f"{call.method} {call.path}", life.world.clock.true_ms / 1000))
        return said if said is not None else send(call)

    life.world.send = noting  # type: ignore[method-assign]
    life.reopen()


def die_at(place: str) -> Callable[[int, str], bool]:
    """Die the first time that this happens."""
    left = [1]

    def crash(_: int, here: str) -> bool:
        if left[0] and here == place:
            left[0] = 0
            return True
        return False

    return crash


def again(life: Life) -> Life:
    """The next process."""
    life.world.revive()
    life.reopen()
    return life


# uploading


def test_a_file_that_had_arrived_when_the_process_died_is_not_sent_again(begin: Begin) -> None:
    life = begin(crash_of=die_at("after POST /files"))
    with pytest.raises(Crash):
        life.run.wait()
    again(life).run.wait()
    assert [one["name"].endswith("-0-1.jsonl") or one["name"] for one in life.noted("uploaded")] == [True]
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_a_file_that_arrived_by_half_is_deleted_and_sent_whole(begin: Begin) -> None:
    life = begin(crash_of=die_at("after POST /files"))
    with pytest.raises(Crash):
        life.run.wait()
    half = next(iter(life.world.files.values()))
    half.content = half.content[:20]
    again(life).run.wait()
    assert half.deleted
    assert len(life.noted("uploaded")) == 2
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_an_upload_that_the_provider_refuses_ends_its_rows_with_the_providers_words(begin: Begin) -> None:
    life = begin(
        answer=first(("POST", "/files"), refusal(400, "Invalid file format for Batch API."), times=9), settings=ONCE
    )
    life.run.wait()
    assert life.states() == ["refused"]
    assert {(row["outcome"], row["error_code"], row["error_message"]) for row in life.rows()} == {
        ("errored", "upload_refused", "openai: HTTP 400: Invalid file format for Batch API.")
    }


def test_an_upload_that_a_proxy_refuses_is_tried_again(begin: Begin) -> None:
    page = Reply(400, {"content-type": "text/html"}, b"<html>bad gateway settings</html>")
    life = begin(answer=first(("POST", "/files"), page, times=3))
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_page_in_nobodys_words_does_not_stop_an_upload_at_once(begin: Begin, status: int) -> None:
    page = Reply(status, {"content-type": "text/html"}, b"<html>come back</html>")
    life = begin(answer=first(("POST", "/files"), page, times=3))
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_a_page_in_nobodys_words_that_stays_stops_the_run(begin: Begin) -> None:
    page = Reply(403, {"content-type": "text/html"}, b"<html>not for you</html>")
    life = begin(answer=first(("POST", "/files"), page, times=99))
    status = life.run.wait()
    assert (status.state, (status.reason or "").split(":")[0]) == ("stopped", "upload_refused")
    assert len(life.at("POST /files")) == 6


def test_an_upload_to_an_address_that_knows_no_files_stops_the_run(begin: Begin) -> None:
    life = begin(answer=first(("POST", "/files"), refusal(404, "Invalid URL (POST /v1/files)"), times=99))
    status = life.run.wait()
    assert status.state == "stopped"
    assert status.reason == "upload_refused: openai: HTTP 404: Invalid URL (POST /v1/files)"
    assert life.states() == ["file_intent"]


# creating


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("Cannot find file file-1, or organization org-1 does not have access to it.", True),
        ("File files/abc not found.", True),
        ("No such File object: file-1", True),
        ("The object gs://b/o does not exist", True),
        ("Cannot find model gpt-9", False),
        ("The file has an invalid line", False),
        ("endpoint not found", False),
        ("", False),
    ],
)
def test_which_words_say_that_a_file_is_missing(message: str, missing: bool) -> None:
    assert names_a_missing_file(message) is missing


def test_a_file_that_is_never_found_is_sent_anew_and_given_up_in_the_end(begin: Begin) -> None:
    life = begin(weather=Weather(file_lag_s=1e9), settings=ONCE)
    life.run.wait()
    assert len(life.noted("uploaded")) == MOST_FILES
    assert len(life.at(CREATE)) == MOST_FILES * (FILE_LAG_TRIES + 1)
    assert life.states() == ["abandoned"] * (MOST_FILES - 1) + ["refused"]
    assert {row["error_message"].partition(" file_")[0] for row in life.rows()} == {
        "openai: HTTP 400: Cannot find file"
    }


def test_a_create_that_is_refused_for_good_is_sent_once_and_told_in_the_providers_words(begin: Begin) -> None:
    life = begin(answer=first(("POST", "/batches"), refusal(400, "Unknown endpoint.", code="bad_endpoint"), times=9))
    life.run.wait()
    assert len(life.at(CREATE)) == 1
    assert life.states() == ["refused"]
    assert {(row["error_code"], row["error_message"]) for row in life.rows()} == {
        ("bad_endpoint", "openai: HTTP 400: Unknown endpoint.")
    }


def test_a_refusal_of_the_pace_waits_longer_each_time_and_keeps_the_file(begin: Begin) -> None:
    life = begin(answer=first(("POST", "/batches"), refusal(429, "Too many requests"), times=4))
    life.run.wait()
    assert len(life.noted("uploaded")) == 1
    waits = [event["wait_s"] for event in life.told("create_without_effect")]
    assert len(waits) == 4
    assert all(0 < wait <= 60 for wait in waits)
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_a_refusal_that_names_a_time_is_obeyed(begin: Begin) -> None:
    life = begin(
        answer=first(("POST", "/batches"), refusal(429, "Too many requests", headers={"retry-after": "47"}), times=1)
    )
    life.run.wait()
    first_at, second_at = life.at(CREATE)
    assert 47 <= second_at - first_at < 110


# a create whose answer was lost


def test_a_create_that_never_arrived_is_looked_for_fenced_off_and_made_anew(begin: Begin) -> None:
    life = begin(faults=(Fault(1, "reset"),))
    life.run.wait()
    lost, anew = life.at(CREATE)
    fenced = next(at for call, at in life.times if call.startswith("DELETE /files/"))
    looks = [round(at - lost) for at in life.at(LIST) if at < anew]
    before, behind = [at for at in looks if at <= fenced - lost], [at for at in looks if at > fenced - lost]
    assert 15 <= fenced - lost < 20
    assert [later - sooner <= 6 for sooner, later in pairwise(before)] == [True] * (len(before) - 1)
    assert len(before) >= 4
    assert 90 <= anew - fenced < 100
    assert {later - sooner for sooner, later in pairwise(behind)} <= {14, 15, 16}
    assert life.states() == ["abandoned", "cleaned"]
    assert [event["reason"] for event in life.told("abandoned")] == ["no batch within the fence"]
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_the_fence_goes_up_when_its_time_has_come_and_not_a_look_later(begin: Begin) -> None:
    life = begin(faults=(Fault(1, "reset"),), settings=replace(SETTINGS, reconcile_s=7.0))
    life.run.wait()
    fenced = next(at for call, at in life.times if call.startswith("DELETE /files/"))
    assert 7 <= fenced - life.at(CREATE)[0] < 9.5


def test_no_second_create_is_sent_while_the_file_of_the_first_one_cannot_be_deleted(begin: Begin) -> None:
    left = [3]

    def held(call: Call) -> Reply | None:
        if call.method != "DELETE" or not left[0]:
            return None
        left[0] -= 1
        return refusal(500, "The file is in use.")

    life = begin(faults=(Fault(1, "reset"),), answer=held)
    life.run.wait()
    assert [event["step"] for event in life.told("trouble")] == ["fence"]
    anew = life.at(CREATE)[1]
    assert len([at for call, at in life.times if call.startswith("DELETE /files/") and at < anew]) == 4
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_of_several_batches_with_one_tag_the_oldest_is_kept_and_the_others_are_cancelled(begin: Begin) -> None:
    life = begin(faults=(Fault(1, "dropped"),), weather=Weather(running_s=600))
    send = life.world.send

    def twice(call: Call) -> Reply:
        if call.method == "POST" and call.path == "/batches":
            life.world._answer(call)  # an eager proxy repeats it
            life.world.clock.advance(2)
        return send(call)

    life.world.send = twice  # type: ignore[method-assign]
    life = again(life)
    life.run.wait()
    made = [batch.id for batch in sorted(life.world.batches.values(), key=lambda batch: batch.made_ms)]
    assert len(made) == 2
    assert [one["batch"] for one in life.noted("cancel")] == made[1:]
    assert {row["batch_id"] for row in life.rows()} == {made[0]}
    assert [event["batch_id"] for event in life.told("double_cancelled")] == made[1:]
    told_of = [event.attempt_id for event in life.run.ledger.events(life.run_id) if event.name == "double_cancelled"]
    assert told_of == [life.attempts()[0].id]


def test_a_double_that_cannot_be_cancelled_is_told_and_does_not_hold_the_run(begin: Begin) -> None:
    life = begin(faults=(Fault(1, "dropped"),), weather=Weather(running_s=600))
    send = life.world.send

    def twice(call: Call) -> Reply:
        if call.method == "POST" and call.path == "/batches":
            life.world._answer(call)
            life.world.clock.advance(2)
        if call.path.endswith("/cancel"):
            return refusal(400, "This batch cannot be cancelled.")
        return send(call)

    life.world.send = twice  # type: ignore[method-assign]
    life = again(life)
    assert life.run.wait().succeeded == 2
    troubles = {(event["step"], event["error"]) for event in life.told("trouble")}
    assert ("cancel_double", "openai: HTTP 400: This batch cannot be cancelled.") in troubles


def test_a_list_that_cannot_be_read_for_long_puts_the_create_before_a_person(begin: Begin) -> None:
    def closed(call: Call) -> Reply | None:
        lost = any(what == CREATE for what, _ in life.times)
        return (
            refusal(500, "The list is closed.") if lost and call.path == "/batches" and call.method == "GET" else None
        )

    life = begin(faults=(Fault(1, "reset"),), answer=lambda call: closed(call), settings=HASTY)
    status = life.run.wait()
    assert (status.reason or "").startswith("unclear_submit: what became of 1 creates is unknown: nono-")
    (attempt,) = life.attempts()
    assert (attempt.state.value, attempt.error_message) == ("quarantine", "openai: HTTP 500: The list is closed.")
    assert [event["reason"] for event in life.told("quarantined")] == ["openai: HTTP 500: The list is closed."]
    assert len(life.at(CREATE)) == 1


def test_a_person_who_names_the_batch_gets_its_answers(begin: Begin) -> None:
    life = quarantined(begin)
    batch = next(iter(life.world.batches.values()))
    life.run.resolve(life.attempts()[0].tag, adopt=batch.id)
    (attempt,) = life.attempts()
    assert (attempt.state.value, attempt.batch_id, attempt.native_state) == ("created", batch.id, "completed")
    assert attempt.created_at == life.world.clock.now_ms()
    assert life.told("adopted") == [{"batch_id": batch.id, "by": "person"}]
    assert again(life).run.wait().succeeded == 2


def test_a_batch_that_does_not_exist_is_not_adopted(begin: Begin) -> None:
    life = quarantined(begin)
    with pytest.raises(NotFound):
        life.run.resolve(life.attempts()[0].tag, adopt="batch_999")
    assert life.states() == ["quarantine"]


def test_a_person_who_says_that_there_is_no_batch_has_a_new_one_made(begin: Begin) -> None:
    life = quarantined(begin, "reset")
    life.run.resolve(life.attempts()[0].tag, resubmit=True)
    assert [event["reason"] for event in life.told("abandoned")] == ["a person says that there is no batch"]
    assert again(life).run.wait().succeeded == 2
    assert life.states() == ["abandoned", "cleaned"]


def test_a_batch_of_other_requests_is_not_adopted(begin: Begin) -> None:
    life = quarantined(begin)
    batch = next(iter(life.world.batches.values()))
    batch.tag = "nono-another-0-1-0"
    tag = life.attempts()[0].tag
    with pytest.raises(InputError, match=f"batch {batch.id} is that of nono-another-0-1-0, not of {tag}"):
        life.run.resolve(tag, adopt=batch.id)
    assert life.states() == ["quarantine"]


def test_a_batch_that_has_another_attempt_is_not_adopted(begin: Begin) -> None:
    lives: list[Life] = []

    def answer(call: Call) -> Reply | None:
        if (call.method, call.path) == ("POST", "/batches") and not lives[0].at(CREATE):
            return Reply(502, {}, b"bad gateway")
        waits = (call.method, call.path) == ("GET", "/batches") and "quarantine" not in lives[0].states()
        return refusal(500, "The list is closed.") if waits else None

    lives.append(begin(("ok 1", "ok 2", "ok 3"), answer=answer, settings=HASTY))
    life = lives[0]
    life.run.wait()
    unclear, other = life.attempts()
    assert life.states() == ["quarantine", "cleaned"]
    (batch,) = life.world.batches.values()
    batch.tag = None  # type: ignore[assignment]  # a service that does not give it back
    said = f"batch {batch.id} is that of {other.tag} of run {life.run_id}, not of {unclear.tag}"
    with pytest.raises(InputError, match=said):
        life.run.resolve(unclear.tag, adopt=batch.id)


def quarantined(begin: Begin, kind: str = "dropped") -> Life:
    """A run whose create was lost while the list could not be read; the list is open again."""
    open_again: list[bool] = []

    def closed(call: Call) -> Reply | None:
        asks = call.method == "GET" and call.path == "/batches"
        return refusal(500, "The list is closed.") if asks and not open_again else None

    life = begin(faults=(Fault(1, kind),), answer=closed, settings=HASTY)
    assert (life.run.wait().reason or "").startswith("unclear_submit: ")
    open_again.append(True)
    return again(life)


# room and money


def test_what_is_under_way_and_what_is_spent_count_against_the_budget(begin: Begin) -> None:
    life = begin(("ok 1", "ok 2", "ok 3", "ok 4"))
    one_batch_usd = (life.run.estimated_usd or 0.0) / 2
    status = life.run.wait(settings=replace(SETTINGS, max_cost_usd=one_batch_usd * 1.5))
    assert (status.reason or "").startswith("budget: the next batch")
    assert life.states() == ["cleaned", "planned"]
    spent_usd = life.run.cost().spent_usd or 0.0
    assert life.run.wait(settings=replace(SETTINGS, max_cost_usd=one_batch_usd + spent_usd / 2)).state == "stopped"
    assert life.states() == ["cleaned", "planned"]
    assert life.run.wait(settings=replace(SETTINGS, max_cost_usd=one_batch_usd + spent_usd * 1.5)).succeeded == 4


@pytest.mark.parametrize(("short_by", "states"), [(0, ["created", "created"]), (1, ["created", "planned"])])
def test_what_is_enqueued_keeps_to_the_limit_of_tokens(begin: Begin, short_by: int, states: list[str]) -> None:
    life = begin(("ok 1", "ok 2", "ok 3", "ok 4"))
    limit = sum(shard.tokens for shard in life.run.ledger.shards(life.run_id)) - short_by
    life.run.wait(until_submitted=True, settings=replace(SETTINGS, max_enqueued_tokens=limit))
    assert life.states() == states
    assert life.run.wait(settings=replace(SETTINGS, max_enqueued_tokens=limit)).succeeded == 4


@pytest.mark.parametrize(("short_by", "uploaded"), [(0, 1), (1, 2)])
def test_a_shard_that_is_larger_than_the_limit_is_halved_before_it_is_sent(
    begin: Begin, short_by: int, uploaded: int
) -> None:
    life = begin()
    (shard,) = life.run.ledger.shards(life.run_id)
    life.run.wait(settings=replace(SETTINGS, max_enqueued_tokens=shard.tokens - short_by))
    assert len(life.noted("uploaded")) == uploaded
    assert life.outcomes() == ["succeeded", "succeeded"]


@pytest.mark.parametrize(("short_by", "uploaded"), [(0, 1), (1, 2)])
def test_a_shard_that_is_larger_than_the_limit_that_an_account_taught_is_halved_before_it_is_sent(
    begin: Begin, short_by: int, uploaded: int
) -> None:
    life = begin()
    (shard,) = life.run.ledger.shards(life.run_id)
    with life.run.ledger.transaction() as work:
        work.learn_limit(life.run.row.account, "gpt-4o-mini", shard.tokens - short_by, 0)
    life.run.wait()
    assert len(life.noted("uploaded")) == uploaded
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_a_create_that_has_to_wait_for_its_turn_is_not_sent_yet(begin: Begin) -> None:
    life = begin(answer=first(("POST", "/batches"), refusal(429, "Too many requests"), times=2))
    life.run.wait(until_submitted=True)
    assert life.states() == ["created"]


def test_what_has_no_room_beside_a_batch_is_not_waited_for_until_all_is_sent(begin: Begin) -> None:
    life = begin(("ok 1", "ok 2", "ok 3"))
    life.run.wait(until_submitted=True, settings=replace(SETTINGS, max_batches=1))
    assert life.states() == ["created", "planned"]


def test_many_batches_that_have_no_room_are_made_once_more_when_there_is_room_and_not_after_every_batch(
    begin: Begin,
) -> None:
    texts = tuple(f"ok {number}" for number in range(20))
    life = begin(texts, Weather(enqueued_requests=1), plan={"rows_per_part": 1})
    life.run.wait()
    assert life.outcomes() == ["succeeded"] * 20
    assert len(life.at(CREATE)) <= 2 * 20


def test_one_request_that_is_larger_than_all_room_is_refused_with_the_providers_words(begin: Begin) -> None:
    full = "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 1 enqueued tokens."
    life = begin(("ok 1",), answer=failing_batches("token_limit_exceeded", full))
    life.run.wait()
    (row,) = life.rows()
    assert (row["outcome"], row["error_code"], row["error_message"]) == (
        "errored",
        "token_limit_exceeded",
        f"{full} (token_limit_exceeded)",
    )
    assert [event["code"] for event in life.told("refused")] == ["token_limit_exceeded"]
    assert len(life.at(CREATE)) == 1


def test_room_that_is_named_is_learned_for_the_model(begin: Begin) -> None:
    full = "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 90,000 enqueued tokens."
    life = begin(("ok 1",), answer=failing_batches("token_limit_exceeded", full, times=2))
    life.run.wait()
    assert life.run.ledger.learned_limit(life.run.row.account, "gpt-4o-mini") == 90_000
    assert [event["limit_tokens"] for event in life.told("no_room")] == [90_000, 90_000]
    sooner, middle, later = life.at(CREATE)
    assert later - middle > 10 and middle - sooner > 5  # the wait grows
    assert len(life.noted("uploaded")) == 1
    # An old batch is never taken for a new one, and each is the run's own.
    assert {event["tag"] for event in life.told("create_sent")} == {f"nono-{life.run_id}-0-1-{no}" for no in range(3)}
    assert life.outcomes() == ["succeeded"]


@pytest.mark.parametrize(("words", "split"), [(20_000, True), (100, False)])
def test_a_refusal_of_the_pace_that_lasts_halves_a_shard_that_may_be_too_large(
    begin: Begin, words: int, split: bool
) -> None:
    texts = tuple(f"ok {number} {'word ' * words}" for number in range(2))
    life = begin(texts, answer=first(("POST", "/batches"), refusal(429, "Too many requests"), times=8))
    life.run.wait()
    assert ("split" in life.states()) is split
    assert len({row["batch_id"] for row in life.rows()}) == (2 if split else 1)
    assert life.outcomes() == ["succeeded", "succeeded"]


# watching


def test_a_young_batch_is_looked_at_often_and_an_old_one_rarely(begin: Begin) -> None:
    life = begin(weather=Weather(running_s=600))
    life.run.wait()
    looks = [at for call, at in life.times if call == LIST]
    gaps = [round(later - sooner) for sooner, later in pairwise(looks)]
    assert gaps[:9] == [2, 2, 2, 2, 2, 2, 3, 3, 4]  # a fifth of its age, but at least two seconds
    assert gaps[9:] == sorted(gaps[9:])
    assert gaps[-1] == 20


def test_a_list_that_cannot_be_read_is_asked_for_ever_more_rarely_until_it_can(begin: Begin) -> None:
    looks = [0]

    def outages(call: Call) -> Reply | None:
        if (call.method, call.path) != ("GET", "/batches"):
            return None
        looks[0] += 1
        return refusal(500, "Not now.") if looks[0] <= 6 or 10 < looks[0] <= 14 else None

    life = begin(weather=Weather(running_s=600), answer=outages)
    life.run.wait()
    # Each is asked for once more at once.
    assert [event["wait_s"] for event in life.told("trouble")] == [2.0, 4.0, 8.0, 2.0, 4.0]
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_a_list_that_names_a_time_is_not_asked_for_before(begin: Begin) -> None:
    busy = refusal(429, "Too many requests", headers={"retry-after": "300"})
    life = begin(weather=Weather(running_s=600), answer=first(("GET", "/batches"), busy, times=1))
    life.run.wait()
    assert [event["wait_s"] for event in life.told("trouble")] == [300.0]
    sooner, later, *_ = life.at(LIST)
    assert 300 <= later - sooner < 301


def test_a_run_that_goes_on_where_nobody_answers_stops_and_can_be_resumed(begin: Begin) -> None:
    gone: list[bool] = []

    def answer(_: Call) -> None:
        if gone:
            raise NotSent("no route to the host")

    life = begin(weather=Weather(running_s=600), answer=answer)
    life.run.wait(until_submitted=True)
    gone.append(True)
    status = again(life).run.wait()
    assert (status.state, status.reason) == ("stopped", "unavailable: no route to the host")
    assert life.states() == ["created"]
    gone.clear()
    assert life.run.wait().succeeded == 2


def test_a_batch_that_the_provider_has_lost_is_put_before_a_person(begin: Begin) -> None:
    life = begin(weather=Weather(list_lag_s=1e9, running_s=1e8))
    life.run.wait(until_submitted=True)
    life.world.batches.clear()
    status = again(life).run.wait()
    assert (status.reason or "").startswith("unclear_submit: what became of 1 creates is unknown: nono-")
    (attempt,) = life.attempts()
    assert attempt.state.value == "quarantine"
    assert attempt.error_message == "openai: HTTP 404: No batch found with id 'batch_1'."
    assert [event["reason"] for event in life.told("quarantined")] == ["the provider has no batch batch_1 any more"]


def test_rows_of_a_batch_that_failed_have_the_providers_reason_and_are_not_sent_again(begin: Begin) -> None:
    life = begin(answer=failing_batches("model_gone", "The model is retired."))
    life.run.wait()
    assert {(row["outcome"], row["error_code"], row["error_message"]) for row in life.rows()} == {
        ("errored", "model_gone", "The model is retired. (model_gone)")
    }
    assert len(life.at(CREATE)) == 1


# answers that cannot be had


def content(status: int, page: bytes, *, times: int) -> Answer:
    """The first so many downloads are answered so."""
    left = [times]

    def answer(call: Call) -> Reply | None:
        if left[0] and call.path.endswith("/content"):
            left[0] -= 1
            return Reply(status, {}, page)
        return None

    return answer


def test_answers_that_a_proxy_keeps_back_are_waited_for(begin: Begin) -> None:
    life = begin(answer=content(403, b"<html>not on this network</html>", times=20))
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded"]
    assert len(life.at(CREATE)) == 1


def test_answers_that_could_not_be_fetched_are_left_at_the_provider(begin: Begin) -> None:
    life = begin(answer=content(403, b'{"error": {"message": "No access to this file."}}', times=999))
    life.run.wait()
    assert {(row["outcome"], row["error_code"]) for row in life.rows()} == {("missing", "answers_gone")}
    assert life.states() == ["cleaned"]
    assert not any(file.deleted for file in life.world.files.values())


# sending again


def test_rows_of_an_unclear_create_are_not_sent_again_before_a_person_has_decided(begin: Begin) -> None:
    creates: list[Call] = []

    def answer(call: Call) -> Reply | None:
        if (call.method, call.path) == ("POST", "/batches"):
            creates.append(call)
            return Reply(502, {}, b"bad gateway") if len(creates) == 2 else None
        closed = (call.method, call.path) == ("GET", "/batches") and len(creates) > 1
        return refusal(500, "The list is closed.") if closed else None

    life = begin(("flaky 1", "ok 2"), answer=answer, settings=HASTY)
    assert (life.run.wait().reason or "").startswith("unclear_submit: ")
    assert life.states() == ["cleaned", "quarantine"]
    assert life.run.plan_retry() == 0
    assert len(creates) == 2


def test_a_row_with_an_id_of_its_own_is_sent_again_alone_whatever_part_it_is_in(begin: Begin) -> None:
    life = begin(("ok 1", "ok 2", "ok 3", "flaky 4"), plan={"id_column": "name"})
    life.run.wait()
    assert [(row["custom_id"], row["outcome"], row["attempts"]) for row in life.rows()] == [
        ("own 0", "succeeded", 1),
        ("own 1", "succeeded", 1),
        ("own 2", "succeeded", 1),
        ("own 3", "succeeded", 2),
    ]
    assert len(life.noted("executed")) == 5


def test_no_row_is_sent_more_often_than_max_attempts_says_whatever_part_it_is_in(begin: Begin) -> None:
    life = begin(("ok 1", "ok 2", "expire 3", "flaky 4"), settings=replace(SETTINGS, max_attempts=2))
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded", "succeeded", "errored"]
    assert len(life.at(CREATE)) == 3


LATE = FinishSync(before_s=BEFORE_S, most_rows=100, calls=2)


def test_the_last_rows_are_asked_without_a_batch_and_what_that_costs_at_most_is_told(begin: Begin) -> None:
    life = begin(weather=Weather(running_s=WINDOW_S - 50), kind=LateWorld)
    life.run.wait(settings=replace(SETTINGS, finish_sync=LATE))
    (plan,) = life.told("retry_planned")
    assert (plan["sync"], plan["requests"], plan["at_most_usd"] > 0) == (True, 1, True)
    assert len(life.noted("asked")) == 1
    assert life.outcomes() == ["succeeded", "succeeded"]


def test_the_last_rows_wait_for_a_batch_where_asking_them_without_one_would_pass_the_budget(begin: Begin) -> None:
    life = begin(("expire 1",), kind=LateWorld)
    one_and_a_half_usd = 1.5 * (life.run.estimated_usd or 0.0)
    life.run.wait(settings=replace(SETTINGS, finish_sync=LATE, max_cost_usd=one_and_a_half_usd))
    assert [plan.get("sync", False) for plan in life.told("retry_planned")] == [False]
    assert life.noted("asked") == []
    assert life.outcomes() == ["succeeded"]


def test_a_retry_leaves_alone_what_is_under_way(begin: Begin) -> None:
    lives: list[Life] = []

    def leave(call: Call) -> Reply | None:
        if (call.method, call.path) == ("POST", "/batches") and lives[0].at(CREATE):
            lives[0].run.leave()
        return None

    lives.append(begin(("flaky 1", "ok 2"), answer=leave))
    life = lives[0]
    life.run.wait()
    assert life.states() == ["cleaned", "created"]
    assert life.run.plan_retry() == 0
    assert life.run.wait().succeeded == 2
    assert len(life.at(CREATE)) == 2


def test_a_retry_that_is_asked_for_twice_is_sent_once(begin: Begin) -> None:
    life = begin(("flaky 1", "ok 2"), settings=ONCE)
    assert life.run.wait().failed == 1
    assert [life.run.plan_retry(), life.run.plan_retry()] == [1, 0]
    assert life.run.wait().succeeded == 2
    assert len(life.at(CREATE)) == 2


@pytest.mark.parametrize(
    ("limit", "of_one", "requests"),
    [("requests_per_file", 0, [3, 1]), ("file_bytes", 2, [2, 2]), ("enqueued_tokens", 2, [2, 2]), ("none", 0, [4])],
)
def test_what_is_sent_again_keeps_the_limits_of_a_file(
    begin: Begin, limit: str, of_one: int, requests: list[int]
) -> None:
    """`of_one`: as large as so many requests, and not a byte or token more."""
    life = begin(("bad 1", "bad 2", "bad 3", "bad 4"), settings=ONCE)
    life.run.wait()
    first_shard, _ = life.run.ledger.shards(life.run_id)
    with life.run._at_work() as engine:
        bench = engine.bench
        if limit == "enqueued_tokens":
            bench.settings = replace(bench.settings, max_enqueued_tokens=of_one * first_shard.tokens // 2)
        elif limit != "none":
            name = f"limits.{limit}"
            fact = replace(bench.provider.facts[name], value=of_one * first_shard.file_bytes // 2 or 3)
            bench.provider = copy(bench.provider)
            bench.provider.facts = Facts({**bench.provider.facts, name: fact})  # type: ignore[misc]
        assert plan_next_round(bench, rows=[0, 1, 2, 3]) == 4
    again = [shard for shard in life.run.ledger.shards(life.run_id) if shard.round == 2]
    assert [shard.requests for shard in again] == requests
    assert sum(shard.tokens for shard in again) == 2 * first_shard.tokens
    assert [shard.file_bytes for shard in again] == [
        life.run.folder.shard_file(shard.no).stat().st_size for shard in again
    ]


def test_a_file_that_is_gone_before_its_batch_begins_is_sent_anew_and_costs_no_attempt(begin: Begin) -> None:
    life = begin(weather=Weather(validating_s=100), settings=ONCE)
    life.run.wait(until_submitted=True)
    for file in life.world.files.values():
        file.deleted = True
    assert life.run.wait().succeeded == 2
    assert life.states() == ["abandoned", "cleaned"]
    assert life.attempts()[0].batch_id is None
    assert [row["attempts"] for row in life.rows()] == [1, 1]


# cleaning up


def test_everything_of_a_settled_batch_is_deleted_once(begin: Begin) -> None:
    life = begin(("ok 1", "bad 2"))
    life.run.wait()
    deletes = [call for call, _ in life.times if call.startswith("DELETE")]
    assert sorted(deletes) == sorted(f"DELETE /files/{id}" for id in life.world.files)
    assert life.attempts()[0].done_requests == 2


def test_what_cannot_be_deleted_holds_no_run_for_long(begin: Begin) -> None:
    life = begin(answer=lambda call: refusal(503, "Not now.") if call.method == "DELETE" else None)
    assert life.run.wait().succeeded == 2
    assert [event["step"] for event in life.told("trouble")] == ["clean"] * CLEAN_TRIES
    assert [event["error"] for event in life.told("not_cleaned")] == ["openai: HTTP 503: Not now."]
    assert life.states() == ["cleaned"]


# giving up and leaving alone


def test_a_run_that_is_cancelled_plans_no_other_round(begin: Begin) -> None:
    life = begin(weather=Weather(running_s=600))
    life.run.wait(until_submitted=True)
    assert life.run.cancel().state == "cancelled"
    assert life.told("retry_planned") == []
    assert life.states() == ["cleaned"]


def test_batches_of_other_runs_and_of_nobody_are_left_alone(begin: Begin) -> None:
    life = begin(weather=Weather(running_s=600))
    life.run.wait(until_submitted=True)
    (mine,) = life.world.batches.values()
    for tag in (None, "nono-another-0-1-0", "something"):
        life.world.batches[f"batch_{tag}"] = replace(mine, id=f"batch_{tag}", tag=tag, made_ms=mine.made_ms + 1)  # type: ignore[arg-type]
    assert life.run.wait().succeeded == 2
    assert life.noted("cancel") == []


@pytest.mark.parametrize(("files", "deleted"), [("delete", True), ("keep", False)])
def test_what_was_uploaded_for_nothing_is_deleted_only_if_it_may_be(begin: Begin, files: str, deleted: bool) -> None:
    lives: list[Life] = []

    def leave(call: Call) -> Reply | None:
        if (call.method, call.path) != ("POST", "/batches"):
            return None
        lives[0].run.leave()
        return refusal(429, "Too many requests")

    lives.append(begin(answer=leave))
    life = lives[0]
    life.run.wait(settings=replace(SETTINGS, provider_files=files))
    assert life.states() == ["uploaded"]
    life.run.cancel()
    assert life.states() == ["dropped"]
    assert [file.deleted for file in life.world.files.values()] == [deleted]
    assert set(life.outcomes()) == {"cancelled"}


def test_a_file_that_had_arrived_when_the_process_died_is_deleted_when_the_run_is_cancelled(begin: Begin) -> None:
    life = begin(crash_of=die_at("after POST /files"))
    with pytest.raises(Crash):
        life.run.wait()
    again(life).run.cancel()
    assert life.states() == ["dropped"]
    assert [file.deleted for file in life.world.files.values()] == [True]


# adopting


def test_requests_that_somebody_else_wrote_are_read_with_their_endpoint(tmp_path: Path) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    assert adopted(tmp_path, line) == ([{"custom_id": "a", "body": {"model": "m", "input": "x"}}], "/v1/embeddings")


def test_requests_of_gemini_are_read_without_an_endpoint_of_their_own(tmp_path: Path) -> None:
    rows, endpoint = adopted(tmp_path, {"key": "a", "request": {"contents": []}}, provider="gemini")
    assert (rows, endpoint) == ([{"custom_id": "a", "body": {"contents": []}}], "generateContent")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], r"in\.jsonl:1: "),
        (['{"custom_id": "a"}'], r"in\.jsonl:1: not a request line"),
        (['{"custom_id": "a", "body": 1}'], r"in\.jsonl:1: not a request line"),
        (['{"body": {}}'], r"in\.jsonl:1: not a request line"),
        (["[1]"], r"in\.jsonl:1: not a request line"),
        ([""], r"in\.jsonl: has no request lines"),
        (
            [json.dumps({"custom_id": n, "url": f"/v1/{n}", "body": {}}) for n in ("b", "a")],
            r"in\.jsonl: has several endpoints: /v1/a, /v1/b",
        ),
    ],
)
def test_a_file_that_holds_no_requests_is_refused_with_the_place(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        requests_of(path, provider_named("openai"), Task("raw", "m"))


def adopted(folder: Path, line: dict[str, Any], provider: str = "openai") -> tuple[list[dict[str, Any]], str]:
    path = folder / "in.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return requests_of(path, provider_named(provider), Task("raw", "m"))


def reply(value: Any) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(value).encode())


def refusal(status: int, message: str, headers: dict[str, str] | None = None, *, code: str | None = None) -> Reply:
    error = {"message": message, "type": None, "param": None, "code": code}
    return Reply(status, headers or {}, json.dumps({"error": error}).encode())


def first(of: tuple[str, str], said: Reply, *, times: int) -> Answer:
    """The first so many calls of a kind are answered so."""
    left = [times]

    def answer(call: Call) -> Reply | None:
        if left[0] and (call.method, call.path) == of:
            left[0] -= 1
            return said
        return None

    return answer


def failing_batches(code: str, message: str, *, times: int = 99) -> Answer:
    """The first so many batches are made and fail in validation."""
    left = [times]
    made: dict[str, dict[str, Any]] = {}

    def answer(call: Call) -> Reply | None:
        if (call.method, call.path) == ("POST", "/batches") and left[0]:
            left[0] -= 1
            number = f"batch_f{len(made)}"
            made[number] = {
                "id": number,
                "status": "failed",
                "input_file_id": call.json["input_file_id"],
                "created_at": 1_763_800_000,
                "metadata": call.json["metadata"],
                "errors": {"data": [{"code": code, "message": message, "line": None, "param": None}]},
            }
            return reply(made[number] | {"status": "validating", "errors": None})
        if call.method == "GET" and call.path.startswith("/batches/") and call.path.rpartition("/")[2] in made:
            return reply(made[call.path.rpartition("/")[2]])
        return None

    return answer


def test_what_is_sent_again_is_priced_by_its_share_of_the_plan(begin: Begin) -> None:
    life = begin(("flaky 1", "ok 2", "ok 3", "ok 4"))
    assert life.run.wait().succeeded == 4
    first, _, again = life.run.ledger.shards(life.run_id)
    assert first.cost_usd is not None
    assert (again.round, again.requests) == (2, 1)
    assert again.cost_usd == pytest.approx(first.cost_usd / 2, rel=0.2)


def test_a_process_that_is_asked_to_leave_leaves_the_batches_at_work(begin: Begin) -> None:
    lives: list[Life] = []

    def ask(call: Call) -> Reply | None:
        if (call.method, call.path) == ("POST", "/batches"):
            with lives[0].run.ledger.transaction() as work:
                work.set_wish(lives[0].run_id, "leave")
        return None

    lives.append(begin(answer=ask))
    assert lives[0].run.wait().state == "running"
    assert lives[0].states() == ["created"]
    assert lives[0].run.ledger.run(lives[0].run_id).wish is None
    assert lives[0].run.wait().succeeded == len(ONE)
