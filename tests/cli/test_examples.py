"""Every example of every help page works against the local server, as it stands there."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nono.cli import COMMANDS, cli
from patience import PATIENT_S

# These have tests of their own: they do not end, or they load weights.
ELSEWHERE = {"serve", "models"}


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in COMMANDS}
    assert all(found.values())
    return {name: command for name, command in found.items() if command is not None}


def examples(command: click.Command) -> list[str]:
    """The lines under "Example" in a help text."""
    text = inspect.cleandoc(command.help or "")
    block = re.search(r"^Example.*:\n((?:[ ]{2,}.*\n?)+)", text, flags=re.MULTILINE)
    return [line.strip() for line in block[1].splitlines()] if block else []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_before_its_options(name: str) -> None:
    told = examples(commands()[name])
    assert told and all(line.startswith(("nono ", "export ")) for line in told)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_when_asked(name: str) -> None:
    command = commands()[name]
    verbs = command.commands.values() if isinstance(command, click.Group) else [command]
    assert all(any("--json" in option.opts for option in verb.params) for verb in verbs)


@pytest.fixture
def shell(tmp_path: Path, server: Any) -> Any:
    """Runs a line of a help page, with what it speaks of in place."""
    (tmp_path / "reviews.csv").write_text("text\n" + "I loved it\nNever again\n" * 10)
    pq.write_table(pa.table({"text": ["I loved it", "Never again"]}), tmp_path / "reviews.parquet")
    (tmp_path / "prompt.j2").write_text("Sentiment of: {{ text }}")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "nono").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m nono.cli "$@"\n')
    (bin_ / "nono").chmod(0o755)
    environment = {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "OPENAI_BASE_URL": server.openai_base_url,
        "OPENAI_API_KEY": "local",
        "GOOGLE_GEMINI_BASE_URL": server.gemini_base_url,
        "GEMINI_API_KEY": "local",
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
        )

    return run


def test_the_examples_of_all_commands_work_one_after_the_other(shell: Any) -> None:
    ask = "-p 'Sentiment of: {{ text }}' -m openai/gpt-4o-mini --provider-files keep -q"
    made = shell(f"nono run reviews.csv {ask} --name nightly-tags")
    assert made.returncode == 0, made.stderr
    made_elsewhere = shell("nono show nightly-tags 0 --json && cp .nono/runs/*/shards/*.jsonl batch_input.jsonl")
    batch = re.search(r'"batch_id": "(\w+)"', made_elsewhere.stdout)
    assert batch
    lines = [line for name, command in commands().items() if name not in ELSEWHERE for line in examples(command)]
    for line in lines:
        # A workspace that knows the batch does not adopt it.
        elsewhere = "NONO_HOME=elsewhere " if line.startswith("nono adopt") else ""
        done = shell(elsewhere + line.replace("batch_68f0", batch[1]))
        # What waits for a decision is not there in this story: that the tag is looked for is what can be said.
        expected = 9 if "--adopt" in line else 0
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
