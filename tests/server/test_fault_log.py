"""The log that comes with faults, and the clock that can be steered."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from server_tools import chat_lines, counts, done, jsonl, reached, submit

from nono.errors import SettingsError
from nono.server.app import LocalServer
from nono.server.clock import SECOND_NS, HandClock, SteeredClock, SystemClock
from nono.server.faults.log import Log
from openai import APIConnectionError, OpenAI

Serve = Callable[..., tuple[LocalServer, OpenAI]]
START_NS = 1_763_800_000 * SECOND_NS


def told(server: LocalServer, what: str | None = None, after: int = 0) -> list[dict[str, Any]]:
    text = httpx2.get(f"{server.url}/_nono/log", params={"after": after}).text
    return [entry for entry in map(json.loads, text.splitlines()) if what in (None, entry["what"])]


# --- the log ---


def test_it_tells_every_call_in_its_order(serving: Serve) -> None:
    server, sdk = serving(faults=[{"fault": "drop-answer", "call": "cancel"}])
    batch = done(sdk, chat_lines(["a"]))
    with pytest.raises(Exception, match="Connection error"):
        sdk.batches.cancel(batch.id)
    calls = [entry for entry in told(server, "call") if entry["call"] != "get"]
    assert [(one["call"], one["status"], one["effect"]) for one in calls] == [
        ("upload", 200, True),
        ("create", 200, True),
        ("cancel", None, True),
    ]
    assert calls[1]["ids"] == {"file": batch.input_file_id, "batch": batch.id}
    assert calls[2]["fault"] == "drop-answer"
    assert [entry["no"] for entry in told(server)] == list(range(1, len(told(server)) + 1))


def test_it_tells_every_execution_with_its_tokens(serving: Serve) -> None:
    server, sdk = serving(faults=[])
    batch = done(sdk, chat_lines(["[[nono:say a b c]]", "[[nono:error 400]]"]))
    first, second = told(server, "executed")
    assert batch.usage is not None
    assert (first["batch"], first["id"], first["ordinal"], first["ok"]) == (batch.id, "r0", 0, True)
    assert (first["input_tokens"], first["output_tokens"]) == (batch.usage.input_tokens, batch.usage.output_tokens)
    assert (second["id"], second["ok"], second["input_tokens"]) == ("r1", False, 0)
    assert first["digest"] != second["digest"]


def test_the_same_body_has_the_same_digest_under_any_id(serving: Serve) -> None:
    server, sdk = serving(faults=[])
    done(sdk, chat_lines(["same", "same"]))
    assert len({entry["digest"] for entry in told(server, "executed")}) == 1


def test_it_tells_every_state_of_a_batch(serving: Serve) -> None:
    server, sdk = serving(faults=[])
    batch = done(sdk, chat_lines(["a"]), metadata={"nono_tag": "nono-x-0-1-0"})
    moves = told(server, "moved")
    assert [entry["state"] for entry in moves] == ["queued", "running", "finalizing", "completed"]
    assert {entry["tag"] for entry in moves} == {"nono-x-0-1-0"}
    assert moves[-1]["outputs"] == {"output": batch.output_file_id}


def test_it_holds_no_key_and_no_prompt(serving: Serve) -> None:
    server, sdk = serving(faults=[], api_key="canary-key")
    done(sdk, chat_lines(["canary-prompt"]))
    sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "canary-prompt"}])
    httpx2.get(f"{server.gemini_base_url}/v1beta/batches", params={"key": "canary-key"})
    log = (server.data / "faults.jsonl").read_text()
    assert '"call":"ask"' in log
    assert "canary" not in log


@pytest.mark.parametrize("length", [True, False])
def test_it_knows_an_answer_that_was_cut_whatever_its_client_saw(serving: Serve, length: bool) -> None:
    server, sdk = serving(faults=[{"fault": "truncate", "at": 9, "length": length, "nth": 1}])
    batch = done(sdk, chat_lines(["a"]))
    for _ in range(2):
        with suppress(APIConnectionError):
            sdk.files.content(batch.output_file_id or "")
    cut, whole = [entry for entry in told(server, "call") if entry["call"] == "content"]
    assert (cut["whole"], cut["sent"], cut["fault"]) == (False, 9, "truncate")
    assert (whole["whole"], "fault" in whole) == (True, False)


def test_it_is_read_from_an_entry_on(serving: Serve) -> None:
    server, sdk = serving(faults=[])
    done(sdk, chat_lines(["a", "b"]))
    assert [entry["no"] for entry in told(server, after=5)][:2] == [6, 7]


def test_entries_of_many_threads_are_whole_and_numbered(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", HandClock())
    threads = [threading.Thread(target=lambda: [log.write("x", text="y" * 500) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["no"] for line in lines] == list(range(1, 801))


def test_a_torn_entry_is_cut_off_and_the_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"no":1,"at_ns":5,"what":"x"}\n{"no":2,"at_ns":9,"what":"x"}\n{"no":3,"at')
    log = Log(path, HandClock())
    assert log.last_ns == 9
    log.write("y")
    assert [json.loads(line)["no"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_it_survives_a_killed_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nono.cli", "serve", "--port", "0", "--data", str(tmp_path / "data")]

    def served(*more: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        return process, found.group()

    process, url = served("--faults", '[{"fault": "reset", "call": "cancel"}]', "--speed", "100")
    try:
        sdk = OpenAI(base_url=f"{url}/v1", api_key="local")
        batch = done(sdk, chat_lines(["a", "b", "c"]))
        httpx2.post(f"{url}/_nono/clock", json={"advance": 86_400 * 3})
        before = httpx2.get(f"{url}/_nono/log").text
        then_ns = json.loads(before.splitlines()[-1])["at_ns"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, url = served("--faults", "[]", "--speed", "100")
        after = httpx2.get(f"{url}/_nono/log").text
        assert after.startswith(before)
        assert [json.loads(line)["no"] for line in after.splitlines()] == list(range(1, after.count("\n") + 1))
        assert sum(json.loads(line)["what"] == "executed" for line in after.splitlines()) == 3
        # Nor does its time go back.
        assert httpx2.get(f"{url}/_nono/clock").json()["now_ns"] >= then_ns
        assert OpenAI(base_url=f"{url}/v1", api_key="local").batches.retrieve(batch.id).status == "completed"
    finally:
        process.kill()
        process.wait()


# --- the clock ---


def test_a_day_passes_when_it_is_asked_to(serving: Serve) -> None:
    server, sdk = serving(faults=[{"fault": "stuck"}], clock=HandClock())
    batch = submit(sdk, chat_lines(["a"]))
    reached(sdk, batch, "in_progress")
    shown = httpx2.post(f"{server.url}/_nono/clock", json={"advance": 86_400}).json()
    assert (shown["now_ns"], shown["speed"]) == (START_NS + 86_400 * SECOND_NS, 0.0)
    assert counts(reached(sdk, batch, "expired")) == (1, 0, 0)


def test_time_runs_as_fast_as_it_is_asked_to(serving: Serve) -> None:
    server, sdk = serving(faults=[{"fault": "stuck"}])
    batch = submit(sdk, chat_lines(["a"]))
    httpx2.post(f"{server.url}/_nono/clock", json={"speed": 1e6})
    assert reached(sdk, batch).status == "expired"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"advance": -1}, "time goes on"),
        ({"speed": -1}, "a clock cannot run -1 times as fast"),
        ({"speed": "2"}, "'speed' is a number"),
        ({"back": 1}, "Expected"),
        ({}, "Expected"),
        ([1], "Expected"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(serving: Serve, wish: Any, said: str) -> None:
    server, _ = serving(faults=[])
    refused = httpx2.post(f"{server.url}/_nono/clock", json=wish)
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]


def test_a_clock_of_ones_own_is_not_steered(serving: Serve) -> None:
    server, _ = serving(faults=[], clock=SystemClock())
    assert httpx2.post(f"{server.url}/_nono/clock", json={"advance": 1}).status_code == 409
    assert "speed" not in httpx2.get(f"{server.url}/_nono/clock").json()


def test_a_fast_clock_wakes_who_waits(tmp_path: Path) -> None:
    clock = SteeredClock(START_NS, speed=1e6)
    clock.wait(threading.Event(), START_NS + 10_000 * SECOND_NS)
    assert clock.now_ns() >= START_NS + 10_000 * SECOND_NS


def test_a_clock_never_goes_back() -> None:
    clock = HandClock(START_NS)
    clock.not_before(START_NS - 5)
    assert clock.now_ns() == START_NS
    with pytest.raises(SettingsError, match="0 seconds or more"):
        clock.advance(-1)


def test_a_large_log_is_streamed_as_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", HandClock())
    for _ in range(3):
        log.write("x")
    pieces = log.read()
    first = next(pieces)
    log.write("late")
    assert jsonl([first, *pieces]).count(b"\n") == 3
