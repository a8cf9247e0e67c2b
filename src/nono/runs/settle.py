"""Answer files and a part's rows in, exactly one outcome per row out, in input order.

Everything comes from files: the kept rows, and what every attempt brought. So a part can be settled as often as
attempts of its rows end, and gives the same table each time. Answers are joined by id; of several attempts the best
outcome wins; what fits nothing is reported and harms no other row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from nono.datasets import Batch, Source
from nono.providers import Provider, Task
from nono.runs.borrowed import Borrowed
from nono.runs.cost import Price
from nono.runs.encoding import generated_id
from nono.runs.joining import Answers, IdReader, join
from nono.runs.kept import kept_rows, read_borrowed
from nono.runs.outcomes import MODERATION_COLUMNS, Outcomes, as_texts
from nono.runs.parts import PlannedPart
from nono.runs.plan import Column
from nono.runs.reused import Reused
from nono.runs.shape import Shape
from nono.runs.table import EMBEDDING, Layout, open_part, part_path
from nono.runs.tally import PartSummary, Tally


def settle(
    part: PlannedPart,
    attempts: Sequence[Answers],
    *,
    provider: Provider,
    task: Task,
    columns: Sequence[Column],
    id_column: str | None,
    rows: Path,
    results: Path,
    price: Price | None = None,
    full_price: Price | None = None,
    reask: int = 0,
    into: Path | None = None,
) -> PartSummary:
    """Write the results of a part into the folder `results`: one row per input row, in order, whole or not at all.

    With `into` it is written into that folder instead, for somebody else to put in place. Rows with an answer of an
    earlier run (it is kept beside them) have that.

    `attempts` are all that had rows of the part and are over, in the order of their making. `rows` is the folder of the
    kept rows, `columns` and `id_column` the plan's. Borrowed rows get the outcome of the row they borrow from, if its
    part is settled: parts that borrow are settled once more when all others are. A row whose answers did not fit the
    schema is asked again up to `reask` times, with the answer and what is wrong with it.

    Nothing that stands in an answer file makes this raise.
    """
    shape = Shape(task.schema) if task.schema is not None and task.kind == "chat" else None
    parsed = shape.columns if shape else _OTHER_COLUMNS.get(task.kind, ())
    layout = Layout(columns, parsed, id_column=id_column)
    path = part_path(results, part.no)
    path = path if into is None else into / path.name

    def write(*, as_text: bool) -> PartSummary:
        own = [column.name for column in layout.result_columns]
        borrowed = Borrowed(read_borrowed(rows, part.no), part.no, results, own)
        source = kept_rows(rows, part.no)
        reused = Reused(rows, part.no, part.row_count)
        ids = _ids(source, id_column, part, borrowed, reused)
        tally = Tally(part, price, full_price)
        reader = IdReader(provider.id_key, provider.id_mark)
        joined = [join(one, ids, part.row_count, reader, provider.decode, tally.oddities) for one in attempts]
        settled = Outcomes(task.kind, layout, shape, provider.decode, joined, tally, borrowed, reused, id_column, reask)
        try:
            with open_part(path, layout, as_text=as_text) as table:
                for batch in _cut(source.batches(), _rows_at_once(part, attempts)):
                    table.write(batch, settled.columns(batch, part.first_row))
        finally:
            for one in joined:
                one.close()
            reused.close()
        return tally.summary(path)

    try:
        return write(as_text=False)
    except Exception as error:
        if not _is_arrows(error):
            raise
    # What the data set has there, Parquet has not: what was paid for is not lost for that.
    return write(as_text=True)


def _rows_at_once(part: PlannedPart, attempts: Sequence[Answers]) -> int:
    """So many that their answers are some megabytes: a picture is as large as a thousand texts."""
    answer_bytes = sum(file.stat().st_size for one in attempts for file in one.files if file.exists())
    return max(MOST_BYTES * part.row_count // max(1, answer_bytes), LEAST_ROWS)


def _cut(batches: Iterator[Batch], rows: int) -> Iterator[Batch]:
    for batch in batches:
        if batch.size <= rows:
            yield batch
        else:
            yield from (batch.cut(start, min(start + rows, batch.size)) for start in range(0, batch.size, rows))


def _is_arrows(error: Exception) -> bool:
    return any(kind.__name__ == "ArrowException" for kind in type(error).__mro__)


# Answers that are in memory at a time, about.
MOST_BYTES = 32 << 20
LEAST_ROWS = 16
_OTHER_COLUMNS: Mapping[str, tuple[Column, ...]] = {"embedding": (EMBEDDING,), "moderation": MODERATION_COLUMNS}


def _ids(
    source: Source, id_column: str | None, part: PlannedPart, borrowed: Borrowed, reused: Reused
) -> dict[str, int]:
    """The ids of the rows that have a request of their own, and where these rows stand in the part."""
    if id_column is None:
        ids = {generated_id(part.first_row + row): row for row in range(part.row_count)}
    else:
        ids = {}
        for batch in source.batches():
            ids.update(zip(as_texts(batch.column(id_column)), count(batch.first)))
    if borrowed.rows or reused:
        ids = {custom_id: row for custom_id, row in ids.items() if row not in borrowed.rows and row not in reused}
    return ids


__all__ = ["Answers", "PartSummary", "settle"]
