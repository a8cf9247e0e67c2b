"""Measures other libraries beside nono and writes benchmarks/PEERS.md.

    python -m benchmarks.peers [--into FOLDER]

Each library gets an environment of its own under `.venv-peers`; one that does not install is named with its reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.jobs.server import prompts
from benchmarks.machine import describe
from benchmarks.measuring import ENVIRONMENT, ROOT
from benchmarks.readme import SCALED
from benchmarks.results import number, spread

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv-peers"
ROWS = 100_000
REPEATS = 3
JOBS = ("build", "read")


@dataclass(frozen=True, slots=True)
class Peer:
    """A library, what of it is installed, and what its figures stand for."""

    name: str
    script: str
    package: str
    note: str


OURS = Peer("nono", "nono_way.py", "", "a plan with all checks; settled rows, checked against the schema, in a table")
PEERS = (
    Peer(
        "instructor", "instructor_way.py", "instructor==1.17.0", "request files; a list of pydantic objects in memory"
    ),
    Peer(
        "bespokelabs-curator",
        "curator_way.py",
        "bespokelabs-curator==0.1.31",
        "its request files twice, generic and OpenAI's; parsed responses in a file",
    ),
    Peer(
        "litellm",
        "litellm_way.py",
        "litellm==1.106.2",
        "nothing of it builds requests, so a plain loop does; response objects in memory, no schema",
    ),
)
ABSENT = """Not measured: inspect_ai, whose batches live inside its evaluations and are built and read a request at a
time by its engine; vLLM's `run-batch`, whose reading and writing cannot be had without loading a model on a GPU."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--into", type=Path, default=HERE.parent)
    given = arguments.parse_args()
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    rows = max(20, round(ROWS * scale))
    pythons: dict[Peer, Path] = {OURS: Path(sys.executable)}
    missing: list[str] = []
    for peer in PEERS:
        try:
            pythons[peer] = _environment(peer)
        except subprocess.CalledProcessError as error:
            missing.append(f"{peer.package}: {(error.stderr or '').strip().splitlines()[-1:]}")
    found: dict[Peer, dict[str, list[float]]] = {peer: {job: [] for job in JOBS} for peer in pythons}
    with tempfile.TemporaryDirectory(prefix="nono-peers-") as name:
        _prepare(Path(name), rows)
        for _ in range(REPEATS if scale >= 1 else 1):
            for job in JOBS:
                for peer, python in pythons.items():
                    found[peer][job].append(_measure(peer, python, job, Path(name), rows))
                    print(f"{peer.name} {job}: {found[peer][job][-1]:.2f} s", file=sys.stderr)
    page = given.into / "PEERS.md"
    page.write_text(_page(found, rows, missing), "utf-8")
    print(page)


def _environment(peer: Peer) -> Path:
    """The Python of a library's own environment, made when it is not there."""
    folder = ENVIRONMENTS / peer.name
    ready = folder / ".ready"
    python = folder / "bin" / "python"
    if not ready.exists() or ready.read_text() != peer.package:
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", peer.package],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
        ready.write_text(peer.package)
    return python


def _prepare(folder: Path, rows: int) -> None:
    """Prompts as CSV, and an answer to each as OpenAI writes it."""
    content = json.dumps({"answer": "The writer is content with the picture, less so with the sound. " * 4})
    message = {"role": "assistant", "content": content, "refusal": None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1764740742,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 131, "completion_tokens": 57, "total_tokens": 188},
    }
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    with (folder / "prompts.csv").open("w", newline="") as file, (folder / "answers.jsonl").open("w") as answers:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt"])
        for number_, prompt in enumerate(prompts(rows)):
            writer.writerow([number_, prompt])
            line = {"id": "batch_req_1", "custom_id": str(number_), "response": response, "error": None}
            answers.write(json.dumps(line) + "\n")


def _measure(peer: Peer, python: Path, job: str, folder: Path, rows: int) -> float:
    command = [str(python), str(HERE / peer.script), job, str(folder)]
    environment = ENVIRONMENT | {"TELEMETRY_ENABLED": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    if peer is not OURS:
        del environment["PYTHONPATH"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["count"] == rows, f"{peer.name} {job}: {said['count']} of {rows}"
    seconds: float = said["seconds"]
    return seconds


def _page(found: dict[Peer, dict[str, list[float]]], rows: int, missing: list[str]) -> str:
    lines = [
        "# Other libraries at the same work",
        "",
        f"Made by `make bench-peers` on {datetime.now(UTC):%Y-%m-%d}: building {rows:,} requests from a CSV of",
        f"500-byte prompts, and reading {rows:,} answers, with a schema of one string. Medians; ± half of the spread.",
        "",
        f"{describe()}.",
        "",
        "| library | build, s | | nono is | read, s | | nono is | what the figures stand for |",
        "|---|---:|---|---:|---:|---|---:|---|",
    ]
    if rows != ROWS:
        lines[-2:-2] = [f"{SCALED} {rows / ROWS:g}: this page shows that everything runs, not how fast it is.**", ""]
    ours = {job: statistics.median(found[OURS][job]) for job in JOBS}
    for peer, jobs in found.items():
        cells = [peer.package.replace("==", " ") or peer.name]
        for job in JOBS:
            middle = statistics.median(jobs[job])
            factor = "" if peer is OURS else f"{middle / ours[job]:.1f} × as fast"
            cells += [number(middle), spread(jobs[job]), factor]
        lines.append(f"| {' | '.join([*cells, peer.note])} |")
    lines += ["", ABSENT, *(f"\nDid not install: {one}." for one in missing)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
