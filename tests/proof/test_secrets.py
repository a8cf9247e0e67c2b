"""Canary keys go through every command and every way of failing; then all that was written or printed is searched."""

from __future__ import annotations

import copy
import http.server
import logging
import pickle
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from forge import Forge

from nono.cli import cli
from nono.errors import NonoError
from nono.exchange import drive
from nono.providers import provider_named
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from nono.transport import Sender

CANARY = "sk-canary-4711-abcdef"
ASK = ("-p", "{{ text }}", "-m", "openai/gpt-4o-mini")
# Every command, and how it is called. `RUN` stands for the run that the first of them makes.
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("rows.csv", *ASK, "--json"),
    "check": ("rows.csv", *ASK),
    "plan": ("rows.csv", *ASK, "--json"),
    "ls": ("--json",),
    "status": ("RUN", "--json"),
    "watch": ("RUN",),
    "show": ("RUN", "1"),
    "errors": ("RUN", "--json"),
    "cost": ("RUN", "--json"),
    "resume": ("RUN", "--json"),
    "retry": ("RUN",),
    "cancel": ("RUN",),
    "resolve": ("RUN", "nobody", "--drop"),
    "adopt": ("batch_none", *ASK[2:]),
    "export": ("RUN", "-o", "out.jsonl"),
    "gc": ("--orphans", "-m", "openai", "--json"),
    "doctor": ("--json",),
    "serve": ("--model", "no-such-model"),
    "models": ("ls",),
    "purge": ("RUN", "--yes"),
}


class Refusing(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and is so careless as to say the key that it was given."""

    status = 401

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        given = self.headers.get("authorization") or self.headers.get("x-goog-api-key")
        said = f'{{"error": {{"message": "Incorrect API key provided: {given}.", "code": {self.status}}}}}'.encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[tuple[str, type[Refusing]]]:
    kind = type("Kind", (Refusing,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kind
    server.shutdown()
    server.server_close()


def holders(folder: Path) -> list[str]:
    """The files that hold the canary."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if CANARY.encode() in path.read_bytes() or "canary-4711" in path.name]


def test_every_command_is_among_those_that_are_tried() -> None:
    assert set(COMMANDS) == set(cli.list_commands(click.Context(cli)))


def test_no_command_writes_or_prints_a_key(forge: Forge, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n[[nono:say 1]]\n[[nono:say 2]]\n")
    said = 0
    with LocalServer(SimulatedModel(), data=tmp_path / "server") as server:
        keys = {"OPENAI_API_KEY": CANARY, "GEMINI_API_KEY": CANARY, "GOOGLE_API_KEY": CANARY}
        environment = server.environment() | {"NONO_HOME": str(tmp_path / "home"), **keys}
        run = ""
        for command, words in COMMANDS.items():
            words = tuple(
                {"RUN": run, "rows.csv": str(rows), "out.jsonl": str(tmp_path / "out")}.get(w, w) for w in words
            )
            ended = forge.run(command, *words, environment=environment)
            if command == "run":
                assert ended.code == 0, ended.said
                (run,) = (path.name for path in (tmp_path / "home" / "runs").iterdir())
            assert "Traceback" not in ended.said, ended.said
            said += len(ended.said)
    assert said > 1000
    assert holders(tmp_path) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("name", ["openai", "gemini"])
def test_a_service_that_says_the_key_does_not_have_it_repeated(
    status: int, name: str, refusing: tuple[str, type[Refusing]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address, kind = refusing
    kind.status = status
    caplog.set_level(logging.DEBUG)
    provider = provider_named(name)
    sender = Sender(provider.account(api_key=CANARY, base_url=address))
    with pytest.raises(NonoError) as caught:
        drive(provider.list_page(), sender)
    sender.close()
    said = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + repr(sender) + caplog.text
    assert "canary-4711" not in said
    assert b"canary-4711" not in pickle.dumps((str(caught.value), copy.copy(vars(caught.value))))


@pytest.mark.parametrize(
    "address",
    ["http://me:{}@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?key={}", "ftp://{}@127.0.0.1/v1", "http://{}@127.0.0.1:1"],
)
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "gemini/gemini-2.5-flash"])
def test_a_key_in_an_address_is_neither_printed_nor_kept(
    address: str, model: str, forge: Forge, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nhello\n")
    there = address.format(CANARY)
    environment = {
        "OPENAI_BASE_URL": there,
        "GEMINI_BASE_URL": there,
        "GOOGLE_GEMINI_BASE_URL": there,
        "OPENAI_API_KEY": CANARY,
        "GEMINI_API_KEY": CANARY,
        "NONO_HOME": str(tmp_path / "home"),
    }
    for words in (("doctor",), ("run", str(rows), "-p", "{{ text }}", "-m", model, "--no-wait")):
        forge.run(*words, environment=environment)
    assert holders(tmp_path) == []
