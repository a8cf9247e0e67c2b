"""The pictures and sounds of a run's answers, out of the answer files: a table of texts does not hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nono.jsonl import BadLine, split_lines
from nono.media import save
from nono.model import Outcome
from nono.providers import Provider
from nono.runs.bench import file_name
from nono.runs.folder import RunFolder
from nono.runs.ledger import Ledger


def save_media(ledger: Ledger, run_id: str, folder: RunFolder, provider: Provider, into: str | Path) -> list[Path]:
    """Write every picture and sound of a run's answers into a folder; returns the files.

    A file is called by its row's id (`cat.png`, `cat-2.png`). Of a row that was answered twice the first answer counts.
    """
    return save(_answers(ledger, run_id, folder, provider), into, provider.media_of)


def _answers(ledger: Ledger, run_id: str, folder: RunFolder, provider: Provider) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    shards = {shard.id: shard.no for shard in ledger.shards(run_id)}
    for attempt in ledger.attempts(run_id):
        for path in folder.answer_files(file_name(run_id, shards[attempt.shard_id], attempt.no)):
            with path.open("rb") as file:
                for line in split_lines(file):
                    try:
                        result = provider.decode(line)
                    except BadLine:
                        continue  # settling has told about it
                    if result.outcome is Outcome.SUCCEEDED and result.custom_id not in seen:
                        seen.add(result.custom_id)
                        yield result.custom_id, result.body
