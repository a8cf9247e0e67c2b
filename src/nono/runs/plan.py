"""Rows into parts and shards: one streaming pass under the provider's limits, everything that can be wrong told before.

A part is a stretch of rows whose results will be one file; its shard is the input file with the part's requests. Both
are written as they come, whole or not at all; nothing that grows with the data stays in memory.

With `dedupe`, rows that ask the same share one request: the first row's. The others are `borrowed`: they are in no
shard, and are settled with the answer of the first. Who asks twice is found in a pass of its own. Rows that an earlier
run has an answer to are in no shard either: the answer is kept with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nono.datasets import MISSING, Batch, Source
from nono.errors import InputError
from nono.facts import Facts
from nono.providers import UNCHECKED, Provider, Task
from nono.runs.contents import Recipe, recipe
from nono.runs.duplicates import KeyHashes, ascend
from nono.runs.encoding import Ids, LineMaker
from nono.runs.lines import Lines
from nono.runs.parts import PartLimits, PartWriter, PlannedPart
from nono.runs.pipeline import give_back_freed_memory, keep_freed_memory, read_ahead
from nono.runs.problems import Problems
from nono.runs.render import as_text, compile_prompt
from nono.runs.reused import Lent

# Where a provider names no limit of its own: what is settled at a time stays small, and a lost batch loses little.
ROWS_PER_PART = 50_000


class Column(msgspec.Struct, frozen=True):
    """An input column and what its values are: text, bool, int, float, json, or `arrow` (as its file says)."""

    name: str
    kind: str


class Plan(msgspec.Struct, frozen=True):
    """What will be sent. `borrowed` counts the rows that share another row's request."""

    parts: tuple[PlannedPart, ...]
    columns: tuple[Column, ...]
    id_column: str | None
    rows: int
    borrowed: int
    warnings: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return sum(part.requests for part in self.parts)

    @property
    def reused(self) -> int:
        """How many rows have an answer of an earlier run."""
        return sum(part.reused for part in self.parts)

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    @property
    def file_bytes(self) -> int:
        return sum(part.file_bytes for part in self.parts)


def plan(
    source: Source,
    task: Task,
    provider: Provider,
    *,
    prompt: str | None = None,
    id_column: str | None = None,
    images: Sequence[str] = (),
    dedupe: bool = False,
    earlier: Callable[[bytes], Lent | None] | None = None,
    shards_into: Path | None = None,
    rows_into: Path | None = None,
    rows_per_part: int = ROWS_PER_PART,
    tokens_per_part: int | None = None,
) -> Plan:
    """Cut a data set into parts, and write `<shards_into>/000000.jsonl` and `<rows_into>/000000.*` for each.

    Without the two folders nothing is written: the plan is the same. `prompt` is a template; without one the content is
    a column (`contents.DEFAULT_COLUMNS`). `id_column` holds the requests' ids (default: a column
    `custom_id`, or generated ones). `earlier` finds an earlier run's answer to a request line. What was written is
    removed when this raises.

    Raises PlanRefused with all problems that can be known (missing columns, duplicate ids, oversized rows, empty texts,
    a schema that the provider refuses); BadInput where the data cannot be read; InputError for a broken template.
    """
    problems = Problems(source)
    maker, ids, notes = _prepare(source, task, provider, prompt, id_column, images, problems)
    limits = _limits(provider.facts, task, rows_per_part, tokens_per_part)
    twice = _asked_twice(source, maker) if dedupe else frozenset()
    repeated = _RepeatedIds(source, maker) if ids is not None else None
    columns = _Columns()
    keep_freed_memory()
    with PartWriter(limits, shards_into, rows_into, twice, earlier) as parts:
        for batch in read_ahead(source.batches()):
            columns.see(batch)
            row_ids = maker.ids(batch, problems)
            if repeated is not None:
                repeated.see(batch, row_ids)
            made = maker.lines(batch, row_ids, problems)
            if made is None:
                continue
            _refuse_oversized(made, batch, limits, problems)
            if not problems.count:
                parts.add(batch, made)
        if repeated is not None:
            assert ids is not None
            _refuse_duplicates(source, ids, repeated.hashes(), problems)
        problems.refuse()
        planned = parts.finish()
    give_back_freed_memory()
    if not planned:
        raise InputError(f"{source.name}: has no rows", hint="a run needs at least one")
    return Plan(
        parts=tuple(planned),
        columns=columns.found(),
        id_column=ids,
        rows=sum(part.row_count for part in planned),
        borrowed=parts.borrowed,
        warnings=(*notes, *parts.warnings),
    )


def _prepare(
    source: Source,
    task: Task,
    provider: Provider,
    prompt: str | None,
    id_column: str | None,
    images: Sequence[str],
    problems: Problems,
) -> tuple[LineMaker, str | None, list[str]]:
    """What makes lines of rows, the column of ids, and warnings: all that can be known without reading the rows.

    Raises PlanRefused.
    """
    columns = source.columns
    ids = id_column or ("custom_id" if "custom_id" in columns else None)
    compiled = compile_prompt(prompt) if prompt is not None else None
    # Rows of JSON may have further columns later on; each row is looked at anyway.
    for sentence in compiled.missing_from(columns) if compiled else ():
        problems.add("missing_column", sentence, hint=f"the columns are: {', '.join(columns)}")
    for name, what in [(ids, "ids"), *((image, "pictures") for image in images)]:
        if name is not None and name not in columns:
            problems.add(
                "missing_column",
                f"there is no column {name!r} for {what}",
                hint=f"the columns are: {', '.join(columns)}",
            )
    for sentence in provider.lint_schema(task.schema) if task.schema and task.check else ():
        problems.add("schema", f"schema: {sentence}", hint=UNCHECKED)
    provider.endpoint_for(task)
    problems.refuse()
    cooked: Recipe = recipe(task.kind, compiled, images, columns, ids, source.path.parent)
    alike = compiled is not None and compiled.constant and not images
    notes = ["the prompt uses no column: every row asks the same"] if alike else []
    return LineMaker(provider, task, cooked, ids), ids, notes


def _limits(facts: Facts, task: Task, rows_per_part: int, tokens_per_part: int | None) -> PartLimits:
    if rows_per_part < 1:
        raise InputError(f"{rows_per_part} rows a part", hint="at least 1")
    requests = facts.get("limits.requests_per_file")
    inputs = facts.get("limits.embedding_inputs_per_file")
    size = facts["limits.file_bytes"]
    return PartLimits(
        # Borrowed rows cost no request, but their part is settled as a whole.
        rows=rows_per_part * 10,
        requests=min(rows_per_part, requests.value) if requests else rows_per_part,
        file_bytes=size.value,
        inputs=inputs.value if inputs and task.kind == "embedding" else None,
        tokens=tokens_per_part,
        file_bytes_source=size.source,
    )


def _refuse_oversized(made: Lines, batch: Batch, limits: PartLimits, problems: Problems) -> None:
    if len(made.content) <= limits.file_bytes:
        return
    for row, line in enumerate(made.lines, start=batch.first):
        if len(line) >= limits.file_bytes:
            problems.add(
                "oversized",
                f"its request has {len(line):,} bytes, a whole file may have {limits.file_bytes:,} "
                f"({limits.file_bytes_source})",
                row=row,
                hint="shorten the text, or give pictures as URLs",
            )


def _asked_twice(source: Source, maker: LineMaker) -> frozenset[int]:
    """Hashes of the requests that several rows have in common; what is wrong with rows, the other pass tells."""
    hashes, unheard = KeyHashes(), Problems(source)
    for batch in source.batches():
        made = maker.lines(batch, Ids([""] * batch.size), unheard)
        if made is None:
            break
        hashes.add(made.keys)
    return hashes.repeated()


def _refuse_duplicates(source: Source, column: str, suspects: frozenset[int], problems: Problems) -> None:
    """Name the rows that share an id; `suspects` are the hashes of ids that seem to occur twice."""
    if not suspects:
        return
    seen: dict[str, int] = {}  # of those that are told or counted: rows that are wrong, not all rows
    for batch in source.batches():
        for row, value in enumerate(batch.column(column), start=batch.first):
            custom_id = "" if value is MISSING or value is None else as_text(value)
            if not custom_id or hash(custom_id) not in suspects:
                continue
            first = seen.setdefault(custom_id, row)
            if first != row:
                other = "another row" if problems.full else source.place(first)  # to find a place takes a while
                problems.add(
                    "duplicate_id",
                    f"shares the id {custom_id!r} with {other}; their answers could not be told apart",
                    row=row,
                    hint="make the ids unique, or leave them out: without an id column they are generated",
                )


class _RepeatedIds:
    """Ids that seem to occur twice. Hashes are made from the first batch on that is out of order."""

    def __init__(self, source: Source, maker: LineMaker) -> None:
        self._source = source
        self._maker = maker
        self._last: str | None = None
        self._found: KeyHashes | None = None

    def see(self, batch: Batch, ids: Ids) -> None:
        if self._found is None and ids.array is not None and ascend(ids.array, self._last):
            self._last = ids.array[-1].as_py()
            return
        if self._found is None:
            self._found = KeyHashes()
            unheard = Problems(self._source)
            for earlier in self._source.batches() if batch.first else ():
                if earlier.first >= batch.first:
                    break
                self._found.add(filter(None, self._maker.ids(earlier, unheard).texts))
        self._found.add(filter(None, ids.texts))

    def hashes(self) -> frozenset[int]:
        return self._found.repeated() if self._found is not None else frozenset()


class _Columns:
    """The input columns and the kinds of their values, over all rows."""

    def __init__(self) -> None:
        self._types: dict[str, set[type]] = {}
        self._kind: str | None = None

    def see(self, batch: Batch) -> None:
        if batch.kind != "json":
            self._kind = batch.kind
            self._types = self._types or {name: set() for name in batch.names}
            return
        for name in batch.names:
            values = batch.column(name)
            types = set(map(type, values))
            if int in types and any(type(value) is int and not -(1 << 63) <= value < 1 << 63 for value in values):
                types.add(object)  # more digits than a column of whole numbers holds
            self._types.setdefault(name, set()).update(types)

    def found(self) -> tuple[Column, ...]:
        return tuple(Column(name, self._kind or _kind(types)) for name, types in self._types.items())


def _kind(types: set[type]) -> str:
    found = types - {type(None), type(MISSING)}
    for kind, of in _KINDS.items():
        if found <= of:
            return kind
    return "json"


_KINDS: Mapping[str, set[type]] = {"text": {str}, "bool": {bool}, "int": {int}, "float": {int, float}}
