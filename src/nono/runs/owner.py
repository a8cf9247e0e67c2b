"""One owner per run: a file lock that dies with its process, and an epoch that the ledger checks at every write.

The lock answers at once after a crash; the lease in the ledger covers workspaces shared between machines, where a file
lock may mean nothing; the epoch makes a process that lost its run unable to write, whatever it believes.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nono.errors import NonoError
from nono.runs.clock import Clock
from nono.runs.ledger import Ledger, RunRow

LEASE_S = 120


class RunOwned(NonoError):
    """Another process works on the run."""


class Ownership:
    """Held while a process works on a run; a context manager that gives the run back."""

    def __init__(self, ledger: Ledger, run: RunRow, folder: Path, clock: Clock) -> None:
        """Take the run over.

        Raises RunOwned, naming the owner, if another process of this machine holds it, or one of another machine has
        written within the lease.
        """
        self._ledger = ledger
        self._clock = clock
        self.run_id = run.id
        self._file: BinaryIO = (folder / "owner.lock").open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise RunOwned(
                f"run {run.id} is owned by {run.owner or 'another process'}",
                hint="wait for it, or stop that process; `nono status` tells how the run stands",
            ) from error
        try:
            host = socket.gethostname()
            owner = f"{host}:{os.getpid()}"
            now = clock.now_ms()
            with ledger.transaction() as work:
                current = ledger.run(run.id)
                assert current is not None
                elsewhere = current.owner is not None and current.owner.rpartition(":")[0] != host
                if elsewhere and current.lease_until > now:
                    raise RunOwned(
                        f"run {run.id} is owned by {current.owner}",
                        hint=f"if that machine is gone, its lease ends in {(current.lease_until - now) // 1000 + 1} s",
                    )
                self.epoch = work.take_run(run.id, owner, now + LEASE_S * 1000)
            self._renewed = now
        except BaseException:
            self._file.close()
            raise

    def renew(self) -> None:
        """Extend the lease when a third of it has passed."""
        now = self._clock.now_ms()
        if abs(now - self._renewed) < LEASE_S * 1000 // 3:
            return
        with self._ledger.transaction(run_id=self.run_id, epoch=self.epoch) as work:
            work.renew_lease(self.run_id, now + LEASE_S * 1000)
        self._renewed = now

    def release(self) -> None:
        """Give the run back; safe to call twice."""
        if self._file.closed:
            return
        try:
            with self._ledger.transaction() as work:
                work.release_run(self.run_id, self.epoch)
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
