"""The workspace: one ledger and the folders of its runs; finds a run by what a person calls it."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from nono.errors import InputError
from nono.runs.folder import RunFolder, private_folder, run_folder, workspace
from nono.runs.ledger import Ledger, RunRow
from nono.runs.ledger.states import OVER

# Lower-case letters and digits that cannot be mistaken for one another when read aloud.
_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_ID_LENGTH = 10
LEDGER = "ledger.db"
LONGEST_NAME = 100
Purpose = Literal["read", "steer", "delete"]


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

    def find(self, name: str | None = None, *, to: Purpose = "read") -> RunRow:
        """A run by its name, its id or the id's beginning; without one, the newest.

        Who wants to `steer` gets a run that is not over before one that is; who wants to `delete`, none that shares its
        name with another. Raises InputError if there is none, or several of which any could be meant.
        """
        runs = self.runs()
        if name is None:
            if not runs:
                raise InputError(
                    f"no runs in {self.home}", hint="`nono run` makes one; NONO_HOME chooses the workspace"
                )
            return next((run for run in runs if to == "steer" and run.state not in OVER), runs[0])
        found = self.ledger.runs_named(name) if runs else []
        exact = [run for run in found if name in (run.id, run.name)]
        chosen = exact or found
        if not chosen:
            raise InputError(f"no run called {name!r} in {self.home}", hint="`nono ls` lists them")
        if to == "steer" and exact:
            chosen = [run for run in chosen if run.state not in OVER] or chosen[:1]
        if len(chosen) > 1 and (to != "read" or not exact):
            raise InputError(
                f"{name!r} fits {len(chosen)} runs: {', '.join(run.id for run in chosen[:5])}",
                hint="say which one by its id; `nono ls` shows them",
            )
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
