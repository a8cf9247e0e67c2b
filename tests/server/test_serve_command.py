"""`nono serve`: what it prints, what it refuses, and how it stops."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

import nono.server
from nono.errors import MissingExtra, SettingsError
from nono.server.app import LocalServer
from nono.server.database import StoreError
from patience import PATIENT_S

NONO = [sys.executable, "-c", "from nono.cli import main; main()"]


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*NONO, "serve", "--port", "0", "--data", str(folder / "data"), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.terminate()


def test_it_prints_its_two_addresses_and_the_variables_to_set(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, line):
        found = re.fullmatch(r"nono serves OpenAI at (http://127\.0\.0\.1:\d+)/v1 and Gemini at \1/gemini\n", line)
        assert found is not None
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(4)] == [
            f"export OPENAI_BASE_URL={found[1]}/v1\n",
            "export OPENAI_API_KEY=local\n",
            f"export GOOGLE_GEMINI_BASE_URL={found[1]}/gemini\n",
            "export GEMINI_API_KEY=local\n",
        ]
        assert httpx2.get(f"{found[1]}/v1/models").status_code == 200


@pytest.mark.parametrize("way", ["variable", "file", "flag"])
def test_a_key_is_asked_for_and_never_printed(tmp_path: Path, way: str) -> None:
    key = "canary-key-11"
    (tmp_path / "key").write_text(key + "\n")
    options = {"variable": (), "file": ("--api-key", f"@{tmp_path / 'key'}"), "flag": ("--api-key", key)}[way]
    environment = {"NONO_SERVER_KEY": key} if way == "variable" else {}
    with serving(tmp_path, *options, **environment) as (process, line):
        found = re.search(r"http://[\d.:]+", line)
        assert found is not None
        assert httpx2.get(f"{found[0]}/v1/models").status_code == 401
        assert httpx2.get(f"{found[0]}/v1/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENT_S)
        assert key not in line + said


def test_ctrl_c_stops_it_with_130(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENT_S)
        assert process.returncode == 130
        assert "Traceback" not in said


def refused(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [*NONO, "serve", "--data", str(folder / "data"), *options],
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    return done.returncode, done.stderr


def test_a_port_that_is_taken_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(tmp_path, "--port", str(port))
    assert code == 2
    assert f"error: cannot listen on 127.0.0.1:{port}" in said
    assert "--port" in said.splitlines()[1]


def test_a_folder_that_is_in_use_is_named_with_the_way_out(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "data"):
        code, said = refused(tmp_path, "--port", "0")
    assert code == 2
    assert "is in use by another server" in said
    assert "--data" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "x.gguf", "--upstream", "http://127.0.0.1:1"), "--model and --upstream both name who answers"),
        (("--upstream", "localhost:11434"), "is no URL"),
        (("--api-key", "@/nowhere/key"), "the key file /nowhere/key cannot be read"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    code, error = refused(tmp_path, "--port", "0", *options)
    assert code == 2
    assert said in error


def test_a_local_server_says_what_to_set(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "data", api_key="k") as server:
        assert server.environment() == {
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_API_KEY": "k",
            "GOOGLE_GEMINI_BASE_URL": f"{server.url}/gemini",
            "GEMINI_API_KEY": "k",
        }


def test_a_local_server_without_a_folder_leaves_nothing_behind() -> None:
    with LocalServer() as server:
        folder = server.data
        assert folder.exists()
    assert not folder.exists()
    server.stop()


def test_several_local_servers_run_at_a_time() -> None:
    with LocalServer() as one, LocalServer() as two:
        assert one.url != two.url
        for server in (one, two):
            assert httpx2.get(f"{server.openai_base_url}/models").status_code == 200


def test_a_folder_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match=r"cannot keep its files in .*Not a directory\nhint: .*--data"):
        LocalServer(data=tmp_path / "file" / "data")


def test_records_that_are_damaged_are_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"records\.sqlite is damaged.*\nhint: .*--data"):
        LocalServer(data=tmp_path)


def test_a_call_that_hangs_does_not_keep_a_stopped_server_alive() -> None:
    code = (
        "import asyncio, time; from nono.server.callers import Callers\n"
        "try: asyncio.run(asyncio.wait_for(Callers().run(time.sleep, 600), 0.01))\n"
        "except TimeoutError: print('left')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENT_S)
    assert done.stdout == "left\n"


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ('[{"fault": "explode"}]', "fault rule 1: there is no fault 'explode'"),
        ("nowhere.json", "the fault rules nowhere.json cannot be read"),
    ],
)
def test_faults_that_make_no_sense_are_told_with_what_there_is(tmp_path: Path, faults: str, said: str) -> None:
    code, error = refused(tmp_path, "--port", "0", "--faults", faults)
    assert code == 2
    assert f"error: {said}" in error
    assert "\nhint: " in error


def test_without_its_extra_the_server_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(MissingExtra, match=r"the local server needs the extra \[server\]"):
        importlib.reload(nono.server)
