"""The exit codes: one table, read by the commands and by the docs."""

from __future__ import annotations

import errno
from enum import IntEnum

from nono.errors import (
    BatchError,
    InputError,
    KeyRefused,
    MissingKey,
    NonoError,
    OutOfQuota,
    ProviderError,
    SettingsError,
    TransportError,
)


class Exit(IntEnum):
    """What a command's end means; 130, 141 and 143 are the signals' own codes, and the run can be resumed."""

    ANSWERED = 0
    BUG = 1
    USAGE = 2
    ROWS_WITHOUT_ANSWER = 3
    KEY_REFUSED = 4
    LIMIT = 5
    OWNED = 6
    UNCLEAR_SUBMIT = 7
    STILL_RUNNING = 8
    BAD_INPUT = 9
    STORAGE = 10
    UNAVAILABLE = 11
    INTERRUPTED = 130
    UNREAD = 141
    TERMINATED = 143


MEANING: dict[Exit, str] = {
    Exit.ANSWERED: "all rows are answered",
    Exit.BUG: "a bug in nono",
    Exit.USAGE: "the command line is not understood",
    Exit.ROWS_WITHOUT_ANSWER: "finished; some rows failed or are missing",
    Exit.KEY_REFUSED: "the key is missing or refused",
    Exit.LIMIT: "stopped by the budget, the account's money or a provider's limit",
    Exit.OWNED: "another process works on the run",
    Exit.UNCLEAR_SUBMIT: "unsure whether a batch was created: `nono resolve`",
    Exit.STILL_RUNNING: "not finished yet; batches go on at the provider",
    Exit.BAD_INPUT: "the input cannot be used; nothing was sent",
    Exit.STORAGE: "the disk or the ledger refused; the run can be resumed",
    Exit.UNAVAILABLE: "the provider cannot be reached or refuses",
    Exit.INTERRUPTED: "Ctrl-C; the run can be resumed",
    Exit.UNREAD: "who read the output has gone (a closed pipe); the run can be resumed",
    Exit.TERMINATED: "SIGTERM; the run can be resumed",
}

# Why a run stopped (`nono.runs.engine`), as an exit code.
STOP_REASONS: dict[str, Exit] = {
    "budget": Exit.LIMIT,
    "out_of_quota": Exit.LIMIT,
    "key_refused": Exit.KEY_REFUSED,
    "unclear_submit": Exit.UNCLEAR_SUBMIT,
    "unavailable": Exit.UNAVAILABLE,
}


# What a person does next, where that is more than `nono resume`.
NEXT: dict[str, str] = {
    "budget": "nono resume {run} --max-cost <US dollars>",
    "unclear_submit": "nono resolve {run}",
}

# What a person can do about what the system refuses.
_HINTS: dict[int, str] = {
    errno.ENOSPC: "make room and run `nono resume`: the ledger is whole, nothing is lost",
    errno.EDQUOT: "make room and run `nono resume`: the ledger is whole, nothing is lost",
    errno.EACCES: "mend the permissions, or choose another workspace with NONO_HOME",
    errno.EPERM: "mend the permissions, or choose another workspace with NONO_HOME",
    errno.EROFS: "choose a workspace that can be written with NONO_HOME",
    errno.ENOTDIR: "a file stands where a folder should be; NONO_HOME chooses another workspace",
    errno.EEXIST: "a file stands where a folder should be; NONO_HOME chooses another workspace",
}


def hint_of(error: BaseException) -> str | None:
    """What can be done about an error: its own word, or that for the system's error."""
    if isinstance(error, OSError) and not isinstance(error, NonoError):
        return _HINTS.get(error.errno or 0)
    hint: str | None = getattr(error, "hint", None)
    return hint


def exit_code(error: BaseException) -> Exit:
    """The code for an error that ended a command."""
    from nono.runs.ledger import LedgerError
    from nono.runs.owner import RunOwned

    table: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Exit], ...] = (
        (RunOwned, Exit.OWNED),
        ((KeyRefused, MissingKey), Exit.KEY_REFUSED),
        (OutOfQuota, Exit.LIMIT),
        ((LedgerError, OSError), Exit.STORAGE),
        (InputError, Exit.BAD_INPUT),
        (SettingsError, Exit.USAGE),
        ((TransportError, ProviderError, BatchError), Exit.UNAVAILABLE),
        (NonoError, Exit.UNAVAILABLE),
    )
    return next((code for kinds, code in table if isinstance(error, kinds)), Exit.BUG)
