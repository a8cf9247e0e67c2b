"""The server's records in SQLite: the only module that sees `sqlite3`, and that knows how a row is written.

One connection behind a lock, short `BEGIN IMMEDIATE` transactions, `synchronous=FULL`: what a transaction said is true
after any crash.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nono.errors import NonoError
from nono.model import Usage
from nono.server.records import Batch, Counts, File, Part, State, Upload

R = TypeVar("R", File, Upload, Part, Batch)

VERSION = 1
_TABLES: dict[type[Any], str] = {File: "files", Upload: "uploads", Part: "parts", Batch: "batches"}
_JSON_COLUMNS = frozenset({"details", "errors", "outputs", "moved_ns", "usage"})


class StoreError(NonoError):
    """The server's folder cannot be used."""


class DiskRefused(StoreError, OSError):
    """The records could not be written (the disk is full, or gone); nothing was changed."""


class Taken(StoreError):
    """The id that a client chose is another file's."""


class IllegalMove(StoreError):
    """A batch was asked to go where it cannot go from its state; nothing was changed."""


class Database:
    """Threads share one.

    Raises StoreError if a newer version of nono wrote the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        path.touch(mode=0o600)  # names of files and metadata are nobody else's business
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._create_tables()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise DiskRefused(
                    f"{path} cannot be opened: {error}", hint="look at its disk and its rights"
                ) from error
            if isinstance(error, sqlite3.DatabaseError):
                raise StoreError(
                    f"{path} is damaged, or was not written by nono: {error}",
                    hint="put back a copy, or choose another folder with --data",
                ) from error
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing.

        Raises DiskRefused if the disk does, Taken if an id is another record's.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise DiskRefused(f"{self._path}: {error}", hint="free some disk space") from error
                if isinstance(error, sqlite3.IntegrityError) and "UNIQUE" in str(error):
                    raise Taken(f"the id is taken: {error}") from error
                raise

    def insert(self, record: File | Upload | Part | Batch) -> int:
        """Write a new record; returns its place in the order of creation."""
        row = {name: value for name, value in _row(record).items() if name != "seq"}
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        table = _TABLES[type(record)]
        cursor = self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 - names of ours
        return cursor.lastrowid or 0

    def update_batch(self, batch: Batch, *, expected: State) -> None:
        """Write a batch that is in the expected state. Raises IllegalMove if it is not."""
        row = _row(batch)
        names = ", ".join(f"{name}=:{name}" for name in row if name not in ("seq", "id", "protocol"))
        changed = self._db.execute(
            f"UPDATE batches SET {names} WHERE protocol=:protocol AND id=:id AND state=:expected",  # noqa: S608 - names of ours
            {**row, "expected": expected},
        ).rowcount
        if not changed:
            raise IllegalMove(f"batch {batch.id} is not {expected} any more")

    def execute(self, sql: str, *values: Any) -> int:
        """How many rows a statement changed."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def one(self, kind: type[R], sql: str, *values: Any) -> R | None:
        with self._lock:
            row = self._db.execute(sql, values).fetchone()
        return _read(kind, row) if row else None

    def all(self, kind: type[R], sql: str, *values: Any) -> list[R]:
        with self._lock:
            rows = self._db.execute(sql, values).fetchall()
        return [_read(kind, row) for row in rows]

    def column(self, sql: str, *values: Any) -> list[Any]:
        """The first column of every row."""
        with self._lock:
            return [row[0] for row in self._db.execute(sql, values)]

    def page(
        self,
        kind: type[R],
        wanted: Mapping[str, Any],
        *,
        after: int | None,
        newest_first: bool,
        limit: int,
        now_ns: int,
    ) -> list[R]:
        """Records whose columns have the wanted values (None: any), in order of creation, beyond the place `after`.

        Files that have expired are left out.
        """
        filters = {name: value for name, value in wanted.items() if value is not None}
        where = [f"{name}=:{name}" for name in filters]
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        if after is not None:
            where.append(f"seq {beyond} :after")
        if kind is File:
            where.append("(expires_ns IS NULL OR expires_ns > :now)")
        sql = f"SELECT * FROM {_TABLES[kind]} WHERE {' AND '.join(where)} ORDER BY seq {order} LIMIT :limit"  # noqa: S608 - names of ours
        with self._lock:
            rows = self._db.execute(sql, {**filters, "after": after, "limit": limit, "now": now_ns}).fetchall()
        return [_read(kind, row) for row in rows]

    def _create_tables(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"{self._path} was written by a newer version of nono (format {version}, this one knows {VERSION})",
                hint="update nono, or choose another folder with --data",
            )
        if version == 0:
            schema = (resources.files(__package__) / "schema.sql").read_text("utf-8")
            self._db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={VERSION}; COMMIT;")


def _row(record: File | Upload | Part | Batch) -> dict[str, Any]:
    row = asdict(record)
    if isinstance(record, Batch):
        row |= row.pop("counts") | {"ended": int(record.state.ended)}
    return {
        name: msgspec.json.encode(value).decode() if name in _JSON_COLUMNS else value for name, value in row.items()
    }


def _read(kind: type[R], row: sqlite3.Row) -> R:
    names = {entry.name for entry in fields(kind)}
    record = kind(
        **{
            name: msgspec.json.decode(row[name]) if name in _JSON_COLUMNS else row[name]
            for name in row.keys()  # noqa: SIM118 - a Row iterates over values
            if name in names
        }
    )
    return _read_batch(record, row) if isinstance(record, Batch) else record


def _read_batch(batch: Batch, row: sqlite3.Row) -> Batch:
    usage: Any = batch.usage  # as JSON gave it
    return replace(
        batch,
        state=State(batch.state),
        counts=Counts(row["total"], row["ok"], row["failed"]),
        usage=Usage(**usage),
    )
