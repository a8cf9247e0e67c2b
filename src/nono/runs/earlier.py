"""What earlier runs of the workspace asked and were answered, to be looked up by what is asked now.

Nothing is kept for this in advance: an earlier run's input files say what was asked, its answer files what was
answered, and both lie in its folder until `nono gc` or `nono purge`. They are read once, and only places of answers are
noted; an answer itself is read, and checked, when somebody asks for it. Two requests are the same when their lines are,
byte for byte, but for the id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from nono.errors import InputError
from nono.jsonl import BadLine, split_lines
from nono.model import Outcome
from nono.providers import Provider, Task
from nono.runs.bench import file_name
from nono.runs.digests import DIGEST_BYTES, DigestTable, Place
from nono.runs.joining import IdReader
from nono.runs.ledger import LedgerError, RunRow
from nono.runs.ledger.states import ASKED_SYNC
from nono.runs.reused import Lent, read_record, records
from nono.runs.rounds import NO_BATCH, TELLING
from nono.runs.shape import Mismatch, Shape
from nono.runs.spec import RunSpec, load_spec
from nono.runs.workspace import Workspace

# Files that are held open at a time.
MOST_OPEN = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """An input file and the answer files of one batch.

    `origins` are the input files with what its rows asked at first, where that is something else: an answer that came
    when it was asked for again, with what was wrong, is the row's all the same.
    """

    requests: Path
    answers: Sequence[Path]
    batch_id: str
    origins: Sequence[Path] = ()


class EarlierAnswers:
    """Answers of earlier runs, by request line. A context manager; `counted` is how many answers are known."""

    def __init__(self, provider: Provider, task: Task) -> None:
        self._provider = provider
        self._shape = Shape(task.schema) if task.schema is not None and task.kind == "chat" else None
        self._cut = line_cutter(provider)
        self._reader = IdReader(provider.id_key, provider.id_mark)
        self._open = ExitStack()
        self._table = self._open.enter_context(DigestTable())
        # The files that places name by number; the batch is None where each record names its own.
        self._files: list[tuple[Path, str | None]] = []
        self._held: dict[int, BinaryIO] = {}
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> EarlierAnswers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._let_go()
        self._open.close()

    @property
    def counted(self) -> int:
        return self._table.count

    def add(self, asked: Asked) -> None:
        """Note where the answers of a batch lie."""
        digests = dict(self._digests(asked.requests))
        if asked.origins:
            known = (one for path in asked.origins for one in self._digests(path))
            digests = {custom_id: digest for custom_id, digest in known if custom_id in digests}
        for path in asked.answers:
            number = self._number(path, asked.batch_id)
            with path.open("rb") as file:
                start = 0
                for line in split_lines(file):
                    digest = digests.get(self._reader.read(line) or "")
                    if digest is not None:
                        self._table.add(digest, Place(number, start, len(line)))
                    start += len(line) + 1

    def add_reused(self, path: Path) -> None:
        """Note where answers lie that an earlier run has from a still earlier one."""
        number = self._number(path, None)
        for start, line in records(path):
            self._table.add(read_record(line).digest, Place(number, start, len(line)))

    def find(self, line: bytes) -> Lent | None:
        """The answer to a request line, or None if no earlier run has one that succeeded and is of the schema."""
        cut = self._cut(line)
        if cut is None:
            return None
        digest = _digest(cut[1])
        for place in self._table.places(digest):
            lent = self._read(place, digest)
            if lent is not None and self._is_good(lent.line):
                return lent
        return None

    def _digests(self, requests: Path) -> Iterator[tuple[str, bytes]]:
        with requests.open("rb") as file:
            for line in split_lines(file):
                cut = self._cut(line)
                if cut is not None:
                    yield cut[0], _digest(cut[1])

    def _number(self, path: Path, batch_id: str | None) -> int:
        self._files.append((path, batch_id))
        return len(self._files) - 1

    def _read(self, place: Place, digest: bytes) -> Lent | None:
        path, batch_id = self._files[place.file]
        try:
            file = self._held.get(place.file) or self._hold(place.file, path)
        except FileNotFoundError:
            return None  # purged, or collected, since it was found
        file.seek(place.start)
        found = file.read(place.length)
        return Lent(found, batch_id, digest) if batch_id is not None else read_record(found)

    def _hold(self, number: int, path: Path) -> BinaryIO:
        if len(self._held) == MOST_OPEN:
            self._let_go()
        return self._held.setdefault(number, path.open("rb"))

    def _let_go(self) -> None:
        for file in self._held.values():
            file.close()
        self._held.clear()

    def _is_good(self, line: bytes) -> bool:
        try:
            result = self._provider.decode(line)
            if result.outcome is not Outcome.SUCCEEDED or result.custom_id != self._reader.read(line):
                return False
            if self._shape is not None:
                self._shape.parse(result.text)
        except (BadLine, Mismatch):
            return False
        return True


def earlier_answers(
    workspace: Workspace, spec: RunSpec, provider: Provider, names: Sequence[str] = ()
) -> EarlierAnswers:
    """The answers of all runs of the workspace that asked the same model in the same place, the newest first.

    `names` are the runs that count, if not all of them do. Raises InputError for one that does not exist or asked
    something else.
    """
    runs = [workspace.find(name) for name in names] if names else workspace.runs()
    earlier, emptied = EarlierAnswers(provider, spec.task), 0
    try:
        for run in runs:
            why = _why_not(workspace, run, spec)
            if why is None:
                emptied += not _add_run(earlier, workspace, run)
            elif names:
                raise InputError(f"run {run.id} has no answers for this one: {why}", hint="`nono ls` lists the runs")
    except BaseException:
        earlier.close()
        raise
    if emptied:
        whose = "1 earlier run keeps" if emptied == 1 else f"{emptied:,} earlier runs keep"
        earlier.notes = (f"{whose} no requests and answers any more (`nono gc`)",)
    return earlier


def _why_not(workspace: Workspace, run: RunRow, spec: RunSpec) -> str | None:
    """Why answers of a run cannot be this one's, or None. Where another key was used does not matter."""
    if (run.provider, run.model) != (spec.provider, spec.task.model):
        return f"it asked {run.provider}/{run.model}"
    if run.endpoint != spec.task.endpoint:
        return f"it asked {run.endpoint}"
    try:
        address = load_spec(workspace.folder(run.id)).base_url
    except LedgerError as error:
        return error.message
    # A rehearsal with a local server must not pass for the provider's answers.
    return None if address == spec.base_url else f"it asked {address}"


def _add_run(earlier: EarlierAnswers, workspace: Workspace, run: RunRow) -> bool:
    """Note a run's answers; False if its files are gone."""
    folder = workspace.folder(run.id)
    if not (folder.path / "shards").is_dir():
        return False
    shards = {shard.id: shard for shard in workspace.ledger.shards(run.id)}
    reasks = load_spec(folder).settings.reask > 0
    for attempt in workspace.ledger.attempts(run.id):
        batch_id = NO_BATCH if attempt.state in ASKED_SYNC else attempt.batch_id
        if attempt.state not in TELLING or batch_id is None:
            continue
        shard = shards[attempt.shard_id]
        answers = folder.answer_files(file_name(run.id, shard.no, attempt.no))
        parts = workspace.ledger.parts_of_shard(shard.id) if reasks and shard.round > 1 else ()
        origins = [folder.shard_file(part_no) for part_no in parts]
        with suppress(FileNotFoundError):  # it is being purged, or collected
            earlier.add(Asked(folder.shard_file(shard.no), answers, batch_id, origins))
    for path in sorted((folder.path / "rows").glob("*.reused")):
        earlier.add_reused(path)
    return True


def line_cutter(provider: Provider) -> Callable[[bytes], tuple[str, bytes] | None]:
    """What takes the id out of an input line of ours: the id and the rest, or None for another's line."""
    key, mark = re.escape(provider.id_key.encode()), re.escape(provider.id_mark.encode())
    # The id comes first in every line that we write.
    match = re.compile(rb'\{"' + key + rb'":"' + mark + rb'((?:[^"\\]|\\.)*)"').match

    def cut(line: bytes) -> tuple[str, bytes] | None:
        found = match(line)
        if found is None:
            return None
        custom_id = found[1]
        text: str = msgspec.json.decode(b'"' + custom_id + b'"') if b"\\" in custom_id else custom_id.decode()
        return text, line[found.end() :]

    return cut


def _digest(rest: bytes) -> bytes:
    return blake2b(rest, digest_size=DIGEST_BYTES).digest()
