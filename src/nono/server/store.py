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
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from nono.errors import SettingsError
from nono.files import sync_folder
from nono.server.clock import Clock
from nono.server.database import Database, IllegalMove
from nono.server.records import MOVES, Batch, File, Part, State, Upload

_COPY_BYTES = 1 << 20
_TOKEN = re.compile("[0-9a-f]{32}")


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
        # Told of every move of a batch inside its transaction.
        self.on_move: Callable[[Batch], object] = _nobody
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("blobs", "incoming", "work"):
                (folder / name).mkdir(exist_ok=True, mode=0o700)
            self._owner = _own(folder)
        except OSError as error:
            raise SettingsError(
                f"the server cannot keep its files in {folder}: {error.strerror or error}",
                hint="choose a folder with --data that may be written to",
            ) from error
        try:
            self._db = Database(folder / "records.sqlite")
        except BaseException:
            self._owner.close()
            raise
        self._sweep_strays()

    def close(self) -> None:
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

    def discard_unmentioned(self, tokens: Iterable[str]) -> None:
        """Remove these bytes, kept or not, unless a file has them after all."""
        for token in tokens:
            self.discard(token)
            if not self._db.column("SELECT 1 FROM files WHERE token=?", token):
                self.blob(token).unlink(missing_ok=True)

    def add_file(self, file: File) -> File:
        """Remember a file whose bytes are kept.

        Raises Taken if another file has its id.
        """
        with self._db.transaction():
            return replace(file, seq=self._db.insert(file))

    def file(self, protocol: str, file_id: str) -> File | None:
        """A file that has not expired."""
        file = self._db.one(File, "SELECT * FROM files WHERE protocol=? AND id=?", protocol, file_id)
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
        wanted = {"protocol": protocol, "purpose": purpose, "source": source}
        now = self.clock.now_ns()
        return self._db.page(File, wanted, after=after, newest_first=newest_first, limit=limit, now_ns=now)

    def delete_file(self, protocol: str, file_id: str) -> bool:
        """Forget a file and remove its bytes; False if there is none. A batch that reads it goes on (it has a link)."""
        sql = "DELETE FROM files WHERE protocol=? AND id=? RETURNING token"
        with self._db.transaction():
            tokens = self._db.column(sql, protocol, file_id)
        for token in tokens:
            self.blob(token).unlink(missing_ok=True)
        return bool(tokens)

    # uploads in more than one call

    def add_upload(self, upload: Upload) -> Upload:
        with self._db.transaction():
            self._db.insert(upload)
        return upload

    def upload(self, upload_id: str) -> Upload | None:
        return self._db.one(Upload, "SELECT * FROM uploads WHERE id=?", upload_id)

    def change_upload(self, upload: Upload, *, expected: str = "pending", file: File | None = None) -> bool:
        """Write an upload's status, file id and size, and the file that it became, all or nothing.

        False if it is not in the expected status (any more). Raises Taken as `add_file` does.
        """
        sql = "UPDATE uploads SET status=?, file_id=?, bytes=? WHERE id=? AND status=?"
        with self._db.transaction():
            changed = self._db.execute(sql, upload.status, upload.file_id, upload.bytes, upload.id, expected)
            if changed and file is not None:
                self._db.insert(file)
        return bool(changed)

    def add_part(self, part: Part) -> Part:
        with self._db.transaction():
            self._db.insert(part)
        return part

    def parts(self, upload_id: str) -> list[Part]:
        """In the order in which they came."""
        return self._db.all(Part, "SELECT * FROM parts WHERE upload_id=? ORDER BY seq", upload_id)

    def join_parts(self, parts: list[Part]) -> tuple[str, int, dict[str, str]]:
        """The parts' bytes as one incoming file: its token, size, and digests ("sha256", "md5")."""
        token = new_token()
        digests = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
        size = 0
        try:
            with self.incoming(token).open("wb") as whole:
                for part in parts:
                    with self.incoming(part.token).open("rb") as file:
                        while chunk := file.read(_COPY_BYTES):
                            size += len(chunk)
                            whole.write(chunk)
                            for digest in digests.values():
                                digest.update(chunk)
        except BaseException:
            self.discard(token)
            raise
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

    def take_input(self, batch: Batch, token: str) -> None:
        """Make the bytes under `incoming(token)` the batch's input."""
        folder = self.work_folder(batch)
        folder.mkdir(mode=0o700, exist_ok=True)
        with self.incoming(token).open("rb+") as file:
            os.fsync(file.fileno())
        self.incoming(token).replace(folder / "input.jsonl")
        sync_folder(folder)

    def add_batch(self, batch: Batch) -> Batch:
        batch = replace(batch, updated_ns=batch.created_ns, moved_ns={batch.state: batch.created_ns})
        with self._db.transaction():
            return replace(batch, seq=self._db.insert(batch))

    def batch(self, protocol: str, batch_id: str) -> Batch | None:
        return self._db.one(Batch, "SELECT * FROM batches WHERE protocol=? AND id=?", protocol, batch_id)

    def batches(self, protocol: str, *, after: int | None = None, newest_first: bool = True, limit: int) -> list[Batch]:
        """Batches in order of creation; `after` is the `seq` of the last one seen."""
        wanted, now = {"protocol": protocol}, self.clock.now_ns()
        return self._db.page(Batch, wanted, after=after, newest_first=newest_first, limit=limit, now_ns=now)

    def unfinished(self) -> list[Batch]:
        """Every batch that has not ended, oldest first."""
        return self._db.all(Batch, "SELECT * FROM batches WHERE ended=0 ORDER BY seq")

    def late(self, now_ns: int) -> list[Batch]:
        """Every batch that has not ended although its time is over, or although it was cancelled."""
        return self._db.all(
            Batch,
            "SELECT * FROM batches WHERE ended=0 AND state<>? AND (expires_ns <= ? OR state=?) ORDER BY seq",
            State.FINALIZING,
            now_ns,
            State.CANCELLING,
        )

    def move(self, batch: Batch, state: State, *, files: list[File] | None = None, **changes: Any) -> Batch:
        """Take a batch to another state, with other changes and new files, all or nothing; returns it as it is now.

        `batch` tells the state that the caller has seen.
        Raises IllegalMove if it cannot go there, or is not in that state any more.
        """
        if state not in MOVES.get(batch.state, frozenset()):
            raise IllegalMove(f"batch {batch.id} cannot go from {batch.state} to {state}")
        now = self.clock.now_ns()
        after = replace(batch, state=state, updated_ns=now, moved_ns={**batch.moved_ns, state: now}, **changes)
        with self._db.transaction():
            for file in files or ():
                self._db.insert(file)
            self._db.update_batch(after, expected=batch.state)
            self.on_move(after)
        return after

    def change_batch(self, batch: Batch, **changes: Any) -> Batch:
        """Change what is not the state (details, priority).

        Raises IllegalMove if the batch has moved meanwhile.
        """
        after = replace(batch, updated_ns=self.clock.now_ns(), **changes)
        with self._db.transaction():
            self._db.update_batch(after, expected=batch.state)
        return after

    def delete_batch(self, batch: Batch) -> None:
        """Forget a batch and the files that it made."""
        for file_id in batch.outputs.values():
            self.delete_file(batch.protocol, file_id)
        with self._db.transaction():
            self._db.execute("DELETE FROM batches WHERE protocol=? AND id=?", batch.protocol, batch.id)
        self.clear_work(batch)

    def clear_work(self, batch: Batch) -> None:
        """Remove the working files of a batch that has ended."""
        shutil.rmtree(self.work_folder(batch), ignore_errors=True)

    # time

    def next_expiry_ns(self, now_ns: int) -> int | None:
        """When something will expire next, after `now_ns`."""
        at: int | None = self._db.column(
            "SELECT min(at) FROM (SELECT min(expires_ns) AS at FROM files WHERE expires_ns > ?1 UNION ALL "
            "SELECT min(expires_ns) FROM uploads WHERE status='pending' AND expires_ns > ?1 UNION ALL "
            "SELECT min(expires_ns) FROM batches WHERE ended=0 AND expires_ns > ?1)",
            now_ns,
        )[0]
        return at

    def sweep(self, now_ns: int) -> None:
        """Remove what has expired by then: files, and uploads that were never finished."""
        for file in self._db.all(File, "SELECT * FROM files WHERE expires_ns <= ?", now_ns):
            self.delete_file(file.protocol, file.id)
        late = "SELECT * FROM uploads WHERE status='pending' AND expires_ns <= ?"
        for upload in self._db.all(Upload, late, now_ns):
            if self.change_upload(replace(upload, status="expired")):
                self.end_upload(upload)

    def _expired(self, expires_ns: int | None) -> bool:
        return expires_ns is not None and expires_ns <= self.clock.now_ns()

    def _sweep_strays(self) -> None:
        """Remove bytes that no record mentions: what a crash between the bytes and their record left."""
        blobs = set(self._db.column("SELECT token FROM files"))
        incoming = {
            *self._db.column("SELECT token FROM uploads WHERE status='pending'"),
            *self._db.column("SELECT p.token FROM parts p JOIN uploads u ON u.id=upload_id WHERE u.status='pending'"),
        }
        work = set(self._db.column("SELECT token FROM batches WHERE ended=0"))
        for name, known in (("blobs", blobs), ("incoming", incoming)):
            for path in self._ours(name):
                if path.name not in known:
                    path.unlink(missing_ok=True)
        for path in self._ours("work"):
            if path.name not in work:
                shutil.rmtree(path, ignore_errors=True)

    def _ours(self, name: str) -> Iterator[Path]:
        """What carries a token: somebody may have pointed `--data` at a folder that had a `work` of its own."""
        return (path for path in (self.folder / name).iterdir() if _TOKEN.fullmatch(path.name))


def _nobody(batch: Batch) -> None:
    """Who is told where nobody listens."""


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
