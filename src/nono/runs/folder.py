"""Where a run keeps its bytes: requests, answers, results. Folders are 0700, files 0600: they hold what people wrote.

```
<NONO_HOME>/ledger.db
<NONO_HOME>/runs/<run id>/
    run.json           what every request has in common: template, system prompt, schema, parameters
    plan.json          the parts and their columns
    rows/000000.*      the input columns of a part
    shards/000000.jsonl  the input file of a shard, as it goes to the provider
    answers/<tag>/     the answer files of an attempt, as they came
    asked/<tag>.jsonl  which requests of an attempt without a batch were sent, and which were refused
    results/000000.*   one outcome per row of a part
    settling-*/        results that worker processes are writing
```
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


def workspace(home: str | os.PathLike[str] | None = None) -> Path:
    """The workspace folder: the argument, then `NONO_HOME`, then `.nono` here."""
    return Path(home or os.environ.get("NONO_HOME") or ".nono").absolute()


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can look into."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def task_file(self) -> Path:
        return self.path / "run.json"

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def rows(self) -> Path:
        return private_folder(self.path / "rows")

    @property
    def shards(self) -> Path:
        return private_folder(self.path / "shards")

    @property
    def results(self) -> Path:
        return private_folder(self.path / "results")

    def shard_file(self, shard_no: int) -> Path:
        return self.shards / f"{shard_no:06}.jsonl"

    def answers(self, file_name: str) -> Path:
        return private_folder(self.path / "answers" / file_name)

    def answer_files(self, file_name: str) -> list[Path]:
        """What an attempt brought: successes first, as the provider's fetch names its files so that they sort."""
        folder = self.path / "answers" / file_name
        return sorted(file for file in folder.iterdir() if file.suffix != ".part") if folder.is_dir() else []

    def asked(self, file_name: str) -> Path:
        return private_folder(self.path / "asked") / f"{file_name}.jsonl"

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def run_folder(home: Path, run_id: str) -> RunFolder:
    return RunFolder(private_folder(private_folder(home / "runs") / run_id))
