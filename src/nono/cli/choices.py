"""Options that several commands share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def runs_called(context: click.Context, parameter: click.Parameter, begin: str) -> list[str]:
    """Names and ids of runs that begin so: for the shell's completion, which must never fail."""
    from nono.runs.workspace import Workspace

    try:
        runs = Workspace().runs()
    except Exception:
        return []
    names = dict.fromkeys(name for run in runs for name in (run.name, run.id) if name)
    return [name for name in names if name.startswith(begin)]


run_argument = click.argument("run", required=False, shell_complete=runs_called)
named_run_argument = click.argument("run", shell_complete=runs_called)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Ids only; no progress.")
env_file_option = click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Read keys from a file of NAME=value lines (never given as flags: flags are seen by everybody).",
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def read_env_file(path: str | None) -> None:
    """Put the names of an env file into the environment, without overriding what is set there."""
    import os
    from pathlib import Path

    from nono.errors import SettingsError

    if path is None:
        return
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8", hint="a text file with a NAME=value on each line") from error
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingsError(f"{path}:{number}: not NAME=value", hint="for example OPENAI_API_KEY=sk-…")
        os.environ.setdefault(name.strip(), value.strip().strip("'\""))


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; without one, refuse unless `--yes` was given. Never a question without a terminal."""
    import sys

    from nono.errors import SettingsError

    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{question} needs a yes", hint="add --yes")
    click.confirm(question, abort=True, err=True)
