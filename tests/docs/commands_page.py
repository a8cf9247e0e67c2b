"""`docs/commands.md`, made of what the commands say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from nono.cli import COMMANDS, cli

WIDE = 10_000  # lines are not broken


def commands_page() -> str:
    shown: dict[tuple[str, str], str] = {}
    with click.Context(cli, info_name="nono", terminal_width=WIDE) as context:
        parts = [part for name in COMMANDS for part in _command(context, cli, name, shown)]
    return "\n\n".join(parts)


def _command(parent: click.Context, group: click.Group, name: str, shown: dict[tuple[str, str], str]) -> Iterator[str]:
    command = group.get_command(parent, name)
    assert command is not None
    with click.Context(command, info_name=name, parent=parent, terminal_width=WIDE) as context:
        arguments = [one for one in command.collect_usage_pieces(context) if one != "[OPTIONS]"]
        yield f"{'##' if group is cli else '###'} `{' '.join([context.command_path, *arguments])}`"
        yield from map(_paragraph, inspect.cleandoc(command.help or "").split("\n\n"))
        options = [one for one in command.params if isinstance(one, click.Option)]
        records = [record for one in options if (record := one.get_help_record(context)) is not None]
        rows = [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in records if (names, text) not in shown]
        if rows:
            yield "\n".join(["| option | what it does |", "|---|---|", *rows])
        yield from _known(records, shown)
        shown.update({record: context.command_path for record in records if record not in shown})
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                yield from _command(context, command, inner, shown)


def _known(records: list[tuple[str, str]], shown: dict[tuple[str, str], str]) -> Iterator[str]:
    """The options that a command above has in the same words, by their names."""
    by_command: dict[str, list[str]] = {}
    for names, text in records:
        if (names, text) in shown:
            by_command.setdefault(shown[names, text], []).append(re.findall(r"--[\w-]+", names)[0])
    for path, names in by_command.items():
        yield f"As for `{path}`: {', '.join(f'`{name}`' for name in names)}."


def _paragraph(text: str) -> str:
    """A paragraph of a help text; one that click is told not to rewrap (`\\b`) shows commands."""
    if not text.startswith("\b"):
        return _cell(text)
    title, *lines = text.removeprefix("\b").strip().splitlines()
    commands = "\n".join(line.strip() for line in lines)
    return f"{title}\n\n```sh\n{commands}\n```"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
