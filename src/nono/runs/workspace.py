"""The workspace: one ledger and the folders of its runs; finds a run by what a person calls it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from nono.errors import InputError
from nono.runs.folder import RunFolder, private_folder, run_folder, workspace
from nono.runs.ledger import Ledger, RunRow, RunState

# Lower-case letters and digits that cannot be mistaken for one another when read aloud.
_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 10
LEDGER = "ledger.db"
LONGEST_NAME = 100


class Workspace:
    """A workspace folder (`NONO_HOME`, default `.nono`); who only looks for runs makes none."""

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self.home: Path = workspace(home)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened, with the folder around it: made where there is none."""
        private_folder(self.home)
        return Ledger(self.home / LEDGER)

    def runs(self) -> list[RunRow]:
        """All runs, newest first."""
        return self.ledger.runs() if (self.home / LEDGER).exists() else []

    def folder(self, run_id: str) -> RunFolder:
        return run_folder(self.home, run_id)

    def find(self, name: str | None = None) -> RunRow:
        """A run by its name, its id or its beginning; without one, the newest that is not over, or the newest.

        Of several runs with one name it is the newest. Raises InputError if there is none, or if ids of several begin
        so.
        """
        runs = self.runs()
        if name is None:
            if not runs:
                raise InputError(
                    f"no runs in {self.home}", hint="`nono run` makes one; NONO_HOME chooses the workspace"
                )
            return next((run for run in runs if run.state not in (RunState.FINISHED, RunState.CANCELLED)), runs[0])
        found = self.ledger.runs_named(name) if runs else []
        exact = [run for run in found if name in (run.id, run.name)]
        chosen = exact or found
        if not chosen:
            raise InputError(f"no run called {name!r} in {self.home}", hint="`nono ls` lists them")
        if len(chosen) > 1 and not exact:
            raise InputError(f"{name!r} fits {len(chosen)} runs: {', '.join(run.id for run in chosen[:5])}")
        return chosen[0]

    def close(self) -> None:
        if "ledger" in self.__dict__:
            self.ledger.close()


def check_name(name: str | None) -> None:
    """Raise InputError for what cannot be a run's name: it stands in lists and on command lines."""
    if name is None:
        return
    if not name.strip() or not name.isprintable() or name.startswith("-") or len(name) > LONGEST_NAME:
        raise InputError(
            f"{name[:40]!r} cannot be the name of a run",
            hint=f"up to {LONGEST_NAME} printable characters, the first of them no dash",
        )


def new_run_id() -> str:
    """An opaque id: it goes to the provider inside tags and file names, and says nothing about the data."""
    import secrets  # brings along what nobody else needs who only looks

    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
