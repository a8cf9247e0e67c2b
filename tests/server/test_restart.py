"""A server that is killed, or stopped, in the middle of a batch: no finished request runs again, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from server_tools import Held, Told, answers, chat_lines, counts, jsonl, reached, submit

from nono.server import work
from nono.server.app import LocalServer
from nono.server.clock import HandClock
from openai import OpenAI
from patience import PATIENT_S

SCRIPT = Path(__file__).parent / "counting_server.py"
REQUESTS = 1_000


class Counted:
    """Servers on one folder, one after the other, and how often each request was executed."""

    def __init__(self, folder: Path, slots: int) -> None:
        self._data = folder / "data"
        self._executions = folder / "executions"
        self._executions.touch()
        self._slots = slots

    @contextmanager
    def running(self) -> Iterator[tuple[OpenAI, subprocess.Popen[str]]]:
        command = [sys.executable, SCRIPT, self._data, self._executions, str(self._slots)]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{SCRIPT.parent}{os.pathsep}{SCRIPT.parents[1]}"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            with OpenAI(base_url=f"{url}/v1", api_key="local", max_retries=0) as sdk:
                yield sdk, process
            process.kill()

    def executed(self) -> Counter[str]:
        return Counter(self._executions.read_text().split())

    def wait_for(self, executions: int) -> None:
        until = time.monotonic() + PATIENT_S
        while self._executions.stat().st_size < executions * 2:
            assert time.monotonic() < until
            time.sleep(0.002)


@pytest.mark.parametrize(("slots", "seed"), [(1, 1), (4, 2)])
def test_a_server_that_is_killed_again_and_again_runs_no_finished_request_twice(
    tmp_path: Path, slots: int, seed: int
) -> None:
    counted = Counted(tmp_path, slots)
    prompts = [f"{n:05}" for n in range(REQUESTS)]
    chance = random.Random(seed)
    kills = 3
    with counted.running() as (sdk, process):
        batch = submit(sdk, chat_lines(prompts))
        counted.wait_for(chance.randrange(1, REQUESTS // 4))
        process.kill()
    for _ in range(kills - 1):
        with counted.running() as (sdk, process):
            time.sleep(chance.uniform(0.0, 0.04))
            process.kill()
    with counted.running() as (sdk, _):
        batch = reached(sdk, batch)
        assert (batch.status, counts(batch)) == ("completed", (REQUESTS, REQUESTS, 0))
        assert [line["custom_id"] for line in answers(sdk, batch.output_file_id)] == [f"r{n}" for n in range(REQUESTS)]
    executed = counted.executed()
    assert set(executed) == set(prompts)
    # Only what was being answered at the moment of a kill may run again: at most one request a slot and kill.
    assert sum(executed.values()) - REQUESTS <= kills * slots
    assert max(executed.values()) <= kills + 1


def test_a_killed_server_still_has_every_file_and_batch(tmp_path: Path) -> None:
    counted = Counted(tmp_path, 1)
    content = jsonl(chat_lines(["1", "2"]))
    with counted.running() as (sdk, process):
        file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
        batch = reached(sdk, submit(sdk, chat_lines(["1", "2"])))
        process.send_signal(signal.SIGKILL)
    with counted.running() as (sdk, _):
        assert sdk.files.retrieve(file.id) == file
        assert sdk.files.content(file.id).content == content
        assert sdk.batches.retrieve(batch.id) == batch
        assert len(answers(sdk, batch.output_file_id)) == 2
    assert counted.executed() == {"1": 1, "2": 1}


@pytest.fixture
def on_one_folder(tmp_path: Path) -> Callable[..., LocalServer]:
    return lambda model, **options: LocalServer(model, data=tmp_path / "data", **options)


def test_a_stopped_server_goes_on_where_it_was(on_one_folder: Callable[..., LocalServer]) -> None:
    first, second = Held(), Told()
    with on_one_folder(first) as server, OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        batch = submit(sdk, chat_lines(["a", "b", "c"]))
        first.allow(2)
        first.wait_for(3)
        first.allow(1)
    with on_one_folder(second) as server, OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        batch = reached(sdk, batch)
        assert counts(batch) == (3, 3, 0)
    assert sorted(first.asked + second.asked) == ["a", "b", "c"]


def test_a_cancellation_survives_a_restart(
    on_one_folder: Callable[..., LocalServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STOP_S", 0.0)
    model = Held()
    server = on_one_folder(model)
    with OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        batch = submit(sdk, chat_lines(["a", "b"]))
        model.wait_for(1)
        assert sdk.batches.cancel(batch.id).status == "cancelling"
    # The answer in the making is still held: the stop finds the batch cancelling.
    server.stop()
    told = Told()
    with on_one_folder(told) as server, OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        assert reached(sdk, batch).status == "cancelled"
    assert told.asked == []
    model.allow(5)


def test_a_batch_whose_time_ran_out_while_the_server_was_down_is_expired(
    on_one_folder: Callable[..., LocalServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STOP_S", 0.0)
    clock = HandClock()
    model = Held()
    with on_one_folder(model, clock=clock) as server, OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        batch = submit(sdk, chat_lines(["a", "b"]))
        model.wait_for(1)
        model.allow(1)
        model.wait_for(2)
    clock.advance(90_000)
    told = Told()
    with on_one_folder(told, clock=clock) as server, OpenAI(base_url=server.openai_base_url, api_key="k") as sdk:
        batch = reached(sdk, batch)
        assert (batch.status, counts(batch)) == ("expired", (2, 1, 0))
        assert len(answers(sdk, batch.output_file_id)) == 1
    assert told.asked == []
    model.allow(5)
