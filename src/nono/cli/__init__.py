"""The command line: each verb is a spelling of one library call. stdout is data, stderr is talk.

Commands are imported when they are called, so that `nono --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

# Verb → (module, object in it, one line of help), in the order of the help page.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "check": ("nono.cli.plan", "check", "Lint rows, prompt, schema, ids and sizes; no network."),
    "plan": ("nono.cli.plan", "plan", "Rows, batches, tokens, cost range and limits; nothing is sent."),
    "run": ("nono.cli.run", "command", "Send a data set, wait, and write one outcome per row."),
    "ls": ("nono.cli.look", "ls", "List runs."),
    "status": ("nono.cli.look", "status", "How a run stands."),
    "watch": ("nono.cli.steer", "watch", "Work on a run and show it live."),
    "show": ("nono.cli.look", "show", "One row of a run: input, outcome, answer."),
    "errors": ("nono.cli.look", "errors", "What failed, grouped by reason."),
    "cost": ("nono.cli.look", "cost", "Tokens and money of a run, or of all."),
    "resume": ("nono.cli.steer", "resume", "Go on with a run that was stopped or left."),
    "retry": ("nono.cli.steer", "retry", "Send again what has no answer yet."),
    "cancel": ("nono.cli.steer", "cancel", "Cancel a run; answers that came are kept."),
    "resolve": ("nono.cli.steer", "resolve", "Decide about a create whose fate is unknown."),
    "adopt": ("nono.cli.steer", "adopt", "Take over a batch that was made elsewhere."),
    "export": ("nono.cli.keep", "export", "Write results as JSONL, CSV, Parquet or Arrow."),
    "gc": ("nono.cli.keep", "gc", "Free disk space; with --orphans, find batches nobody owns."),
    "purge": ("nono.cli.keep", "purge", "Forget a run: ledger, requests, answers and results."),
    "doctor": ("nono.cli.doctor", "command", "Check this installation, keys and the workspace."),
    "serve": ("nono.cli.serve", "command", "Run the local batch server: both protocols, no key."),
    "models": ("nono.cli.models", "command", "The embedded models' weights: ls, pull, add."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose help page imports none."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            from nono.cli.exits import Exit

            # `nono export | head`: who read has enough. https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(Exit.UNREAD) from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from nono import __version__

        click.echo(f"nono {__version__}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
def cli() -> None:
    """Large volumes of LLM requests through the OpenAI and Gemini Batch APIs, at half the price.

    \b
    Try it without a key:
      nono serve --model simulated &
      export OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_API_KEY=local
      nono run reviews.csv -p "Sentiment of: {{ text }}" -m openai/gpt-4o-mini -o out.csv
    """


def main() -> NoReturn:
    """The entry point: runs a command, prints an error as one line and a hint, exits with the documented code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        from nono.cli.exits import Exit

        click.echo("interrupted", err=True)
        code = Exit.INTERRUPTED
    except Exception as error:
        code = _report(error)
    sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception) -> int:
    from nono.cli.exits import Exit, exit_code, hint_of

    code = exit_code(error)
    if code is Exit.BUG:
        raise error
    message, hint = getattr(error, "message", str(error)), hint_of(error)
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code
