"""A provider's own options on the command line: Vertex AI without a word of Python, and what is wrong with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENT_S


@pytest.fixture
def nono(tmp_path: Path) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE", "NONO"))}
    environment |= {"NONO_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nono.cli", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
        )

    (tmp_path / "rows.csv").write_text("id,text\n007,Paris\n008,Rome\n")
    return run


def test_a_run_on_vertex_ai_beside_a_server_on_this_machine_needs_only_its_address(
    nono: Any, server: Any, tmp_path: Path
) -> None:
    asked = ("-p", "Where is {{ text }}?", "--id", "id", "-m", "vertex/gemini-2.5-flash", "--base-url", server.url)
    done = nono("run", "rows.csv", *asked, "--option", "project=mine", "-o", "out.jsonl", "--yes")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == ["007", "008"]
    assert all(row["batch_id"].startswith("projects/mine/locations/global/") for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a run on Vertex AI needs a project and a bucket"),
        (("--option", "bucket=my-bucket"), "no address in Cloud Storage"),
        (("--option", "bukket=gs://b"), "vertex has no option 'bukket'"),
        (("--option", "bucket"), "--option 'bucket' is not NAME=VALUE"),
    ],
)
def test_what_is_wrong_with_the_place_of_a_run_is_told_with_the_way_out(
    nono: Any, words: tuple[str, ...], said: str
) -> None:
    done = nono("run", "rows.csv", "-p", "{{ text }}", "-m", "vertex/gemini-2.5-flash", *words)
    assert done.returncode != 0
    assert said in done.stderr
    assert "hint: " in done.stderr and "Traceback" not in done.stderr
