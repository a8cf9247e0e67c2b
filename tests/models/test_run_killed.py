"""The embedded model and a `kill -9` of run and server half-way: the labels are those of a run left alone."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from process_tools import soon

from nono import models
from patience import PATIENT_S
from ports import free_port

pytestmark = pytest.mark.model

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL, ROWS = "smollm2-135m-instruct", 12
NONO = (sys.executable, "-m", "nono.cli")


class Beside:
    """A server process at one address, and runs beside it; both can be killed, and started again."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}/v1"
        self._folder = folder
        self._environment = os.environ | {
            "OPENAI_BASE_URL": self._url,
            "OPENAI_API_KEY": "local",
            "NO_PROXY": "127.0.0.1",
        }
        self.server: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        options = ("--port", str(self._port), "--model", MODEL, "--data", str(self._folder / "server"))
        self.server = subprocess.Popen([*NONO, "serve", *options], stderr=subprocess.DEVNULL, env=self._environment)
        assert soon(lambda: self.answered() >= 0, within_s=PATIENT_S)

    def run(self, home: Path) -> subprocess.Popen[bytes]:
        """`nono run` over the reviews, as the README has it; its results are in `<home>/labels.csv`."""
        home.mkdir(exist_ok=True)
        with (EXAMPLES / "amazon_reviews.csv").open(newline="") as file:
            head = list(itertools.islice(csv.reader(file), ROWS + 1))
        with (home / "reviews.csv").open("w", newline="") as file:
            csv.writer(file).writerows(head)
        asked = (
            "-p",
            "{{ text }}",
            "-s",
            f"@{EXAMPLES / 'sentiment.system.txt'}",
            "--id",
            "id",
            "-m",
            f"openai/{MODEL}",
        )
        asked += ("--schema", str(EXAMPLES / "sentiment.schema.json"), "--temperature", "0", "--max-tokens", "20")
        command = [*NONO, "run", str(home / "reviews.csv"), *asked, "-o", str(home / "labels.csv"), "--quiet"]
        return subprocess.Popen(command, env=self._environment | {"NONO_HOME": str(home / "home")})

    def answered(self) -> int:
        """How many requests of the newest batch have their answer; -1 while nobody listens."""
        try:
            with urllib.request.urlopen(f"{self._url}/batches", timeout=5) as reply:
                batches = json.load(reply)["data"]
        except OSError:
            return -1
        return int(batches[0]["request_counts"]["completed"]) if batches else 0

    def kill_server(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
            self.server = None


def labels(home: Path) -> list[tuple[str, str, str]]:
    with (home / "labels.csv").open(newline="") as file:
        return [(row["id"], row["outcome"], row["sentiment"]) for row in csv.DictReader(file)]


def test_a_run_whose_process_and_server_are_killed_half_way_ends_with_the_labels_of_one_left_alone(
    tmp_path: Path,
) -> None:
    models.pull(MODEL)
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    beside = Beside(tmp_path)
    try:
        beside.serve()
        process = beside.run(killed)
        assert soon(lambda: beside.answered() >= ROWS // 3, within_s=PATIENT_S)
        process.kill()
        beside.kill_server()
        assert process.wait() == -9
        assert not (killed / "labels.csv").exists()

        beside.serve()
        assert beside.run(killed).wait(timeout=PATIENT_S) == 0
        assert beside.run(alone).wait(timeout=PATIENT_S) == 0
    finally:
        beside.kill_server()
    assert labels(killed) == labels(alone)
    assert [outcome for _, outcome, _ in labels(killed)] == ["succeeded"] * ROWS
    assert {sentiment for _, _, sentiment in labels(killed)} <= {"positive", "negative"}
