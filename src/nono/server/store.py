"""Files and batches on disk, both protocols in one place; after a crash everything that was said is still true.

The folder (`--data`) holds `records.sqlite` and two folders of bytes: `blobs/` (finished files) and `incoming/`
(uploads in progress), plus `work/` (a folder a batch while it runs). Names of bytes are tokens made here: a client's
name is never a path. Bytes are made durable first, then the record that mentions them is committed; what a crash leaves
without a record is swept at the next start.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from nono.errors import NonoError, SettingsError
from nono.files import sync_folder
from nono.model import Usage
from nono.server.clock import Clock
from nono.server.records import MOVES, Batch, Counts, File, Part, State, Upload

VERSION = 1
_COPY_BYTES = 1 << 20
_JSON_COLUMNS = frozenset({"details", "errors", "outputs", "moved_ns", "usage"})


class StoreError(NonoError):
    """The server's folder cannot be used."""


class DiskRefused(StoreError, OSError):
    """The records could not be written (the disk is full, or gone); nothing was changed."""


class Taken(StoreError):
    """The id that a client chose is another file's."""


class IllegalMove(StoreError):
    """A batch was asked to go where it cannot go from its state; nothing was changed."""


def new_token() -> str:
    """A name for bytes on disk that no client has chosen."""
    return secrets.token_hex(16)


class Store:
    """One process owns a folder; threads share one Store.

    Raises SettingsError if another process has the folder, StoreError if a newer version of nono wrote it.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        for name in ("blobs", "incoming", "work"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = _own(folder)
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(folder / "records.sqlite", check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._create_tables()
        except BaseException:
            self._owner.close()
            raise
        self._sweep_strays()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            self._owner.close()

    # files

    def blob(self, token: str) -> Path:
        """Where the bytes of a finished file are."""
        return self.folder / "blobs" / token

    def incoming(self, token: str) -> Path:
        """Where the bytes of an upload in progress are."""
        return self.folder / "incoming" / token

    def keep(self, token: str) -> None:
        """Make the bytes under `incoming(token)` durable and finished, under `blob(token)`."""
        with self.incoming(token).open("rb+") as file:
            os.fsync(file.fileno())
        self.incoming(token).replace(self.blob(token))
        sync_folder(self.folder / "blobs")

    def discard(self, token: str) -> None:
        """Remove the bytes of an upload that came to nothing."""
        self.incoming(token).unlink(missing_ok=True)

    def add_file(self, file: File) -> File:
        """Remember a file whose bytes are kept.

        Raises Taken if another file has its id.
        """
        try:
            with self._transaction():
                return replace(file, seq=self._insert("files", file))
        except sqlite3.IntegrityError as error:
            raise Taken(f"there is a file {file.id} already") from error

    def file(self, protocol: str, file_id: str) -> File | None:
        """A file that has not expired."""
        row = self._one("SELECT * FROM files WHERE protocol=? AND id=?", protocol, file_id)
        file = _file(row) if row else None
        return file if file and not self._expired(file.expires_ns) else None

    def files(
        self,
        protocol: str,
        *,
        purpose: str | None = None,
        source: str | None = None,
        after: int | None = None,
        newest_first: bool = True,
        limit: int,
    ) -> list[File]:
        """Files in order of creation; `after` is the `seq` of the last one seen."""
        rows = self._page(
            "files",
            {"protocol": protocol, "purpose": purpose, "source": source},
            after,
            newest_first,
            limit,
            "AND (expires_ns IS NULL OR expires_ns > :now)",
        )
        return [_file(row) for row in rows]

    def delete_file(self, protocol: str, file_id: str) -> bool:
        """Forget a file and remove its bytes; False if there is none. A batch that reads it goes on (it has a link)."""
        with self._transaction():
            row = self._one("DELETE FROM files WHERE protocol=? AND id=? RETURNING token", protocol, file_id)
        if row is None:
            return False
        self.blob(row["token"]).unlink(missing_ok=True)
        return True

    # uploads in more than one call

    def add_upload(self, upload: Upload) -> Upload:
        with self._transaction():
            self._insert("uploads", upload)
        return upload

    def upload(self, upload_id: str) -> Upload | None:
        row = self._one("SELECT * FROM uploads WHERE id=?", upload_id)
        return _read(Upload, row) if row else None

    def change_upload(self, upload: Upload, *, expected: str = "pending", file: File | None = None) -> bool:
        """Write an upload's status, file id and size, and the file that it became, all or nothing.

        False if it is not in the expected status (any more). Raises Taken as `add_file` does.
        """
        try:
            with self._transaction():
                changed = self._db.execute(
                    "UPDATE uploads SET status=?, file_id=?, bytes=? WHERE id=? AND status=?",
                    (upload.status, upload.file_id, upload.bytes, upload.id, expected),
                ).rowcount
                if changed and file is not None:
                    self._insert("files", file)
        except sqlite3.IntegrityError as error:
            raise Taken(f"there is a file {upload.file_id} already") from error
        return bool(changed)

    def add_part(self, part: Part) -> Part:
        with self._transaction():
            self._insert("parts", part)
        return part

    def parts(self, upload_id: str) -> list[Part]:
        """In the order in which they came."""
        rows = self._all("SELECT * FROM parts WHERE upload_id=? ORDER BY seq", upload_id)
        return [_read(Part, row) for row in rows]

    def join_parts(self, parts: list[Part]) -> tuple[str, int, dict[str, str]]:
        """The parts' bytes as one incoming file: its token, size, and digests ("sha256", "md5")."""
        token = new_token()
        digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
        size = 0
        with self.incoming(token).open("wb") as whole:
            for part in parts:
                with self.incoming(part.token).open("rb") as file:
                    while chunk := file.read(_COPY_BYTES):
                        size += len(chunk)
                        whole.write(chunk)
                        for digest in digests.values():
                            digest.update(chunk)
        return token, size, {name: digest.hexdigest() for name, digest in digests.items()}

    def end_upload(self, upload: Upload) -> None:
        """Remove the bytes that an upload has gathered; its record stays, so that a late call is answered right."""
        self.discard(upload.token)
        for part in self.parts(upload.id):
            self.discard(part.token)

    # batches

    def work_folder(self, batch: Batch) -> Path:
        """Where a batch's input (`input.jsonl`) and journal are while it runs."""
        return self.folder / "work" / batch.token

    def link_input(self, batch: Batch, file: File) -> None:
        """Give the batch its own name for the input's bytes, so that deleting the file does not pull them away."""
        folder = self.work_folder(batch)
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / "input.jsonl"
        if not target.exists():
            os.link(self.blob(file.token), target)

    def add_batch(self, batch: Batch) -> Batch:
        batch = replace(batch, updated_ns=batch.created_ns, moved_ns={batch.state: batch.created_ns})
        with self._transaction():
            return replace(batch, seq=self._insert("batches", batch))

    def batch(self, protocol: str, batch_id: str) -> Batch | None:
        row = self._one("SELECT * FROM batches WHERE protocol=? AND id=?", protocol, batch_id)
        return _batch(row) if row else None

    def batches(self, protocol: str, *, after: int | None = None, newest_first: bool = True, limit: int) -> list[Batch]:
        """Batches in order of creation; `after` is the `seq` of the last one seen."""
        rows = self._page("batches", {"protocol": protocol}, after, newest_first, limit)
        return [_batch(row) for row in rows]

    def unfinished(self) -> list[Batch]:
        """Every batch that has not ended, oldest first."""
        return [_batch(row) for row in self._all("SELECT * FROM batches WHERE ended=0 ORDER BY seq")]

    def move(self, batch: Batch, state: State, *, files: list[File] | None = None, **changes: Any) -> Batch:
        """Take a batch to another state, with other changes and new files, all or nothing; returns it as it is now.

        `batch` tells the state that the caller has seen.
        Raises IllegalMove if it cannot go there, or is not in that state any more.
        """
        if state not in MOVES.get(batch.state, frozenset()):
            raise IllegalMove(f"batch {batch.id} cannot go from {batch.state} to {state}")
        now = self.clock.now_ns()
        after = replace(batch, state=state, updated_ns=now, moved_ns={**batch.moved_ns, state: now}, **changes)
        with self._transaction():
            for file in files or ():
                self._insert("files", file)
            self._update_batch(after, expected=batch.state)
        return after

    def change_batch(self, batch: Batch, **changes: Any) -> Batch:
        """Change what is not the state (details, priority).

        Raises IllegalMove if the batch has moved meanwhile.
        """
        after = replace(batch, updated_ns=self.clock.now_ns(), **changes)
        with self._transaction():
            self._update_batch(after, expected=batch.state)
        return after

    def delete_batch(self, batch: Batch) -> None:
        """Forget a batch and the files that it made."""
        for file_id in batch.outputs.values():
            self.delete_file(batch.protocol, file_id)
        with self._transaction():
            self._db.execute("DELETE FROM batches WHERE protocol=? AND id=?", (batch.protocol, batch.id))
        self.clear_work(batch)

    def clear_work(self, batch: Batch) -> None:
        """Remove the working files of a batch that has ended."""
        shutil.rmtree(self.work_folder(batch), ignore_errors=True)

    # time

    def next_expiry_ns(self, now_ns: int) -> int | None:
        """When something will expire next, after `now_ns`."""
        row = self._one(
            "SELECT min(at) AS at FROM (SELECT min(expires_ns) AS at FROM files WHERE expires_ns > ?1 UNION ALL "
            "SELECT min(expires_ns) FROM uploads WHERE status='pending' AND expires_ns > ?1 UNION ALL "
            "SELECT min(expires_ns) FROM batches WHERE ended=0 AND expires_ns > ?1)",
            now_ns,
        )
        assert row is not None
        at: int | None = row["at"]
        return at

    def sweep(self, now_ns: int) -> None:
        """Remove what has expired by then: files, and uploads that were never finished."""
        for row in self._all("SELECT * FROM files WHERE expires_ns <= ?", now_ns):
            self.delete_file(row["protocol"], row["id"])
        for row in self._all("SELECT * FROM uploads WHERE status='pending' AND expires_ns <= ?", now_ns):
            upload = _read(Upload, row)
            if self.change_upload(replace(upload, status="expired")):
                self.end_upload(upload)

    def _expired(self, expires_ns: int | None) -> bool:
        return expires_ns is not None and expires_ns <= self.clock.now_ns()

    # SQLite

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise DiskRefused(f"{self.folder}: {error}", hint="free some disk space") from error
                raise

    def _one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
            return row

    def _all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _page(
        self, table: str, wanted: Mapping[str, Any], after: int | None, newest_first: bool, limit: int, also: str = ""
    ) -> list[sqlite3.Row]:
        filters = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name}=:{name}" for name in filters)
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        seen = "" if after is None else f"AND seq {beyond} :after"
        with self._lock:
            return self._db.execute(
                f"SELECT * FROM {table} WHERE {where} {seen} {also} ORDER BY seq {order} LIMIT :limit",  # noqa: S608 - names of ours
                {**filters, "after": after, "limit": limit, "now": self.clock.now_ns()},
            ).fetchall()

    def _insert(self, table: str, record: Any) -> int:
        row = {name: value for name, value in _row(record).items() if name != "seq"}
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        cursor = self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 - names of ours
        return cursor.lastrowid or 0

    def _update_batch(self, batch: Batch, *, expected: State) -> None:
        row = _row(batch)
        names = ", ".join(f"{name}=:{name}" for name in row if name not in ("seq", "id", "protocol"))
        changed = self._db.execute(
            f"UPDATE batches SET {names} WHERE protocol=:protocol AND id=:id AND state=:expected",  # noqa: S608 - names of ours
            {**row, "expected": expected},
        ).rowcount
        if not changed:
            raise IllegalMove(f"batch {batch.id} is not {expected} any more")

    def _create_tables(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"{self.folder} was written by a newer version of nono (format {version}, this one knows {VERSION})",
                hint="update nono, or choose another folder with --data",
            )
        if version == 0:
            schema = (resources.files(__package__) / "schema.sql").read_text("utf-8")
            self._db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={VERSION}; COMMIT;")

    def _sweep_strays(self) -> None:
        """Remove bytes that no record mentions: what a crash between the bytes and their record left."""
        blobs = {row["token"] for row in self._all("SELECT token FROM files")}
        incoming = {row["token"] for row in self._all("SELECT token FROM uploads WHERE status='pending'")} | {
            row["token"]
            for row in self._all(
                "SELECT p.token FROM parts p JOIN uploads u ON u.id=p.upload_id WHERE u.status='pending'"
            )
        }
        work = {row["token"] for row in self._all("SELECT token FROM batches WHERE ended=0")}
        for name, known in (("blobs", blobs), ("incoming", incoming)):
            for path in (self.folder / name).iterdir():
                if path.name not in known:
                    path.unlink(missing_ok=True)
        for path in (self.folder / "work").iterdir():
            if path.name not in work:
                shutil.rmtree(path, ignore_errors=True)


def _own(folder: Path) -> BinaryIO:
    file = (folder / "owner.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SettingsError(
            f"{folder} is in use by another server", hint="stop it, or give this one its own folder with --data"
        ) from error
    return file


def _row(record: Any) -> dict[str, Any]:
    row = asdict(record)
    if isinstance(record, Batch):
        row |= row.pop("counts") | {"ended": int(record.state.ended)}
    return {
        name: msgspec.json.encode(value).decode() if name in _JSON_COLUMNS else value for name, value in row.items()
    }


def _read(kind: type[Any], row: sqlite3.Row) -> Any:
    names = {entry.name for entry in fields(kind)}
    return kind(
        **{
            name: msgspec.json.decode(row[name]) if name in _JSON_COLUMNS else row[name]
            for name in row.keys()  # noqa: SIM118 - a Row iterates over values
            if name in names
        }
    )


def _file(row: sqlite3.Row) -> File:
    file: File = _read(File, row)
    return file


def _batch(row: sqlite3.Row) -> Batch:
    batch: Batch = _read(Batch, row)
    usage: Any = batch.usage  # as JSON gave it
    return replace(
        batch,
        state=State(batch.state),
        counts=Counts(row["total"], row["ok"], row["failed"]),
        usage=Usage(**usage),
    )
