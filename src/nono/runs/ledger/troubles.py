"""What can go wrong with a ledger, in words that say what was kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nono.errors import NonoError


class LedgerError(NonoError):
    """The ledger cannot be read or written; nothing was changed by the call that raised this."""


class StorageFull(LedgerError):
    """The disk is full (or a quota is): the run pauses, the ledger is whole."""


class NewerLedger(LedgerError):
    """The ledger was written by a newer version of nono."""


class Superseded(LedgerError):
    """Another process owns the run now; this one must not write any more."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise StorageFull(
                f"{path}: {error}", hint="make room and run `nono resume`: the ledger is whole, nothing is lost"
            ) from error
        raise LedgerError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: {error}") from error
