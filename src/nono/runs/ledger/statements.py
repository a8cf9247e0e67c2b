"""The SQL: the named statements, the schema, and the ways from the ledgers of older versions to this one's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nono.runs.ledger import states

# `upgrade_<n>` in queries.sql leads from version n to the next.
VERSION = 3

_ABOUT_ATTEMPTS = re.compile(r"^CREATE \w+ \w*attempt", re.MULTILINE)


@cache
def statements() -> dict[str, str]:
    attempts = "".join(part for part in _split(schema()) if _ABOUT_ATTEMPTS.search(part))
    text = Path(__file__).with_name("queries.sql").read_text("utf-8")
    text = text.format(**_printed(), attempts_of_the_schema=attempts)
    found = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(found[::2], found[1::2], strict=True)}


def _printed() -> dict[str, str]:
    """The parts of the SQL that are printed from the tables in `states`."""
    in_doubt_or_running = states.MAY_COST - states.ANSWERED
    return {
        "run_states": states.sql_list(states.RUN_MOVES),
        "attempt_states": states.sql_list(states.ATTEMPT_MOVES),
        "final_states": states.sql_list(states.FINAL),
        "in_flight_states": states.sql_list(states.IN_FLIGHT),
        "committed_states": states.sql_list(frozenset(in_doubt_or_running)),
        "answered_states": states.sql_list(states.ANSWERED),
        "told_states": states.sql_list(states.TOLD),
        "sync_states": states.sql_list(states.ASKED_SYNC),
        "attempt_moves": states.sql_legal_moves(states.ATTEMPT_MOVES),
        "run_moves": states.sql_legal_moves(states.RUN_MOVES),
    }


def schema() -> str:
    """The whole schema as SQL, with the constraints that the tables of moves print."""
    return Path(__file__).with_name("schema.sql").read_text("utf-8").format(**_printed())


def way_up(version: int) -> Iterator[str]:
    """The statements that make a ledger of some version one of this version; of nothing, too (0)."""
    if version == 0:
        yield from _split(schema())
    else:
        for older in range(version, VERSION):
            yield from _split(statements()[f"upgrade_{older}"] + "\n")


def _split(script: str) -> Iterator[str]:
    """The statements of a script; a trigger's body holds semicolons of its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
