"""The verbs that move a run: watch, resume, retry, cancel, resolve, adopt. Each is one library call."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from nono.cli.asking import BASE_URL, PROVIDER_OPTION, provider_options
from nono.cli.choices import (
    confirm,
    env_file_option,
    json_option,
    named_run_argument,
    quiet_option,
    read_env_file,
    run_argument,
    runs_called,
    yes_option,
)
from nono.cli.exits import NEXT, STOP_REASONS, Exit
from nono.errors import SettingsError

if TYPE_CHECKING:
    from nono.runs.run import Run
    from nono.runs.status import RunStatus
    from nono.runs.workspace import Purpose


def finish(status: RunStatus, *, quiet: bool = False, exports: bool = False) -> int:
    """Say how a run stands at the end of a command, name the next command, and give the exit code.

    With `quiet`, nothing is said of a run that has answered every row; with `exports`, the command itself goes on to
    write the results.
    """
    from nono.cli.live import money, rows
    from nono.runs.ledger import RunState

    if quiet and status.over and not status.failed:
        return Exit.ANSWERED
    click.echo(f"{status.id}: {rows(status)}; {money(status)}", err=True)
    match status.state:
        case RunState.FINISHED | RunState.CANCELLED if status.failed:
            click.echo(f"next: nono errors {status.id}   or: nono retry {status.id}", err=True)
            return Exit.ROWS_WITHOUT_ANSWER
        case RunState.FINISHED | RunState.CANCELLED:
            if not exports:
                click.echo(f"next: nono export {status.id} -o results.csv", err=True)
            return Exit.ANSWERED
        case RunState.STOPPED:
            reason, _, message = (status.reason or "").partition(": ")
            click.echo(f"stopped: {message or reason}", err=True)
            click.echo(f"next: {NEXT.get(reason, 'nono resume {run}').format(run=status.id)}", err=True)
            return STOP_REASONS.get(reason, Exit.UNAVAILABLE)
        case _:
            click.echo(f"batches go on at the provider; next: nono watch {status.id}", err=True)
            return Exit.STILL_RUNNING


@contextmanager
def _terminate_politely(run: Run) -> Iterator[list[int]]:
    """SIGTERM leaves like Ctrl-C does; a second Ctrl-C ends at once."""
    seen: list[int] = []

    def leave(number: int, _: FrameType | None) -> None:
        if seen:
            import os

            os._exit(128 + number)
        seen.append(number)
        click.echo("\nleaving after the steps that are being taken; batches go on at the provider", err=True)
        run.leave()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow(run: Run, *, quiet: bool = False, as_json: bool = False, exports: bool = False, **options: Any) -> int:
    """Work on a run with the live view; returns the exit code."""
    import json

    from nono.cli.live import LiveView

    errors = partial(run.ledger.error_counts, run.id)
    with LiveView(errors, quiet=quiet or as_json) as view, _terminate_politely(run) as signals:
        run.subscribe(view.tell)
        status = run.wait(view.show, **options)
    if as_json:
        click.echo(json.dumps(status.to_dict()))
    return _left(status, signals) or finish(status, quiet=quiet, exports=exports)


def _left(status: RunStatus, signals: list[int]) -> int:
    """The exit code of a command that a signal has ended, with a word about how to go on; 0 if none has."""
    if not signals or status.over:
        return 0
    click.echo(f"left safely; resume with: nono resume {status.id}", err=True)
    return 128 + signals[0]


def opened(name: str | None, env_file: str | None = None, *, to: Purpose = "steer") -> Run:
    from nono.runs.run import Run
    from nono.runs.workspace import Workspace

    read_env_file(env_file)
    workspace = Workspace()
    return Run(workspace, workspace.find(name, to=to).id)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=runs_called)
@click.option(
    "--webhook",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Also listen for webhooks here (loopback; 0 takes any free port) and look at once.",
)
@quiet_option
@json_option
@env_file_option
def watch(runs: tuple[str, ...], webhook: int | None, quiet: bool, as_json: bool, env_file: str | None) -> None:
    """Work on a run and show it live; without RUN, on the newest that is not over; of several, on one after the other.

    \b
    Example:
      nono watch
    """
    code = 0
    for name in runs or (None,):
        found = opened(name, env_file)
        with ExitStack() as held:
            if webhook is not None:
                from nono.runs.listening import listen

                port = held.enter_context(listen(found, webhook))
                click.echo(f"listening for webhooks on http://127.0.0.1:{port}/", err=True)
            ended = follow(found, quiet=quiet, as_json=as_json)
        code = code or ended
        if ended in (Exit.INTERRUPTED, Exit.TERMINATED):
            break
    sys.exit(code)


@click.command()
@run_argument
@click.option("--max-cost", type=click.FloatRange(min=0), help="A new budget in US dollars.")
@quiet_option
@json_option
@env_file_option
def resume(run: str | None, max_cost: float | None, quiet: bool, as_json: bool, env_file: str | None) -> None:
    """Go on with a run that was stopped or left.

    \b
    Example:
      nono resume nightly-tags --max-cost 40
    """
    from dataclasses import replace

    found = opened(run, env_file)
    options: dict[str, Any] = {}
    if max_cost is not None:
        options["settings"] = replace(found.spec.settings, max_cost_usd=max_cost)
    sys.exit(follow(found, quiet=quiet, as_json=as_json, **options))


@click.command()
@run_argument
@click.option("--failed", "which", flag_value="failed", help="Only rows with an error.")
@click.option("--missing", "which", flag_value="missing", help="Only rows that the provider never answered.")
@quiet_option
@json_option
@env_file_option
def retry(run: str | None, which: str | None, quiet: bool, as_json: bool, env_file: str | None) -> None:
    """Send again what has no answer yet; what has one is never sent again.

    \b
    Example:
      nono retry nightly-tags --failed
    """
    from nono.cli.live import counted

    found = opened(run, env_file, to="read")  # one that is over has such rows
    count = found.plan_retry(which or "all")
    click.echo(f"to be sent again: {counted(count, 'row')} of run {found.id}", err=True)
    sys.exit(follow(found, quiet=quiet, as_json=as_json))


@click.command()
@named_run_argument
@yes_option
@json_option
@env_file_option
def cancel(run: str, yes: bool, as_json: bool, env_file: str | None) -> None:
    """Cancel a run; answers that came are kept, unfinished batches are asked to stop.

    \b
    Example:
      nono cancel nightly-tags --yes
    """
    import json

    found = opened(run, env_file)
    confirm(f"cancel {found!r}?", yes=yes)
    with _terminate_politely(found) as signals:
        status = found.cancel()
    if as_json:
        click.echo(json.dumps(status.to_dict()))
    if not status.over and status.owner is not None:
        click.echo(f"asked {status.owner} to cancel", err=True)
    sys.exit(_left(status, signals) or finish(status))


@click.command()
@named_run_argument
@click.argument("tag", required=False)
@click.option("--adopt", metavar="BATCH", help="The batch exists at the provider: this is its id.")
@click.option("--resubmit", is_flag=True, help="There is no such batch: send the shard again.")
@click.option("--drop", is_flag=True, help="Give the shard's rows up.")
@json_option
@env_file_option
def resolve(
    run: str, tag: str | None, adopt: str | None, resubmit: bool, drop: bool, as_json: bool, env_file: str | None
) -> None:
    """Decide about a create whose fate is unknown. Without TAG, list them.

    \b
    Example:
      nono resolve nightly-tags
      nono resolve nightly-tags nono-k3v9x2m1qa-12-1-0 --adopt batch_68f0
    """
    import json

    found = opened(run, env_file)
    if tag is None:
        if adopt is not None or resubmit or drop:
            raise SettingsError("which create is meant?", hint=f"`nono resolve {run}` lists the tags that wait")
        waiting = found.unclear()
        if as_json:
            rows = [{"tag": one.tag, "file": one.file_id, "why": one.error_message} for one in waiting]
            click.echo(json.dumps(rows))
            return
        for one in waiting:
            click.echo(f"{one.tag}\tfile {one.file_id}\t{one.error_message or ''}")
        if not waiting:
            click.echo("nothing waits for a decision", err=True)
        return
    found.resolve(tag, adopt=adopt, resubmit=resubmit, drop=drop)
    if as_json:
        click.echo(json.dumps(found.status.to_dict()))
    click.echo(f"next: nono resume {found.id}", err=True)


@click.command()
@click.argument("batch")
@click.option("-m", "--model", required=True, help="provider/model of the batch.")
@click.option(
    "-i", "--input", "input_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True
)
@click.option("--name", help="What to call the run.")
@BASE_URL
@PROVIDER_OPTION
@quiet_option
@json_option
@env_file_option
def adopt(
    batch: str,
    model: str,
    input_path: Path,
    name: str | None,
    base_url: str | None,
    options: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    env_file: str | None,
) -> None:
    """Take over a batch that was made elsewhere, with the input file it was made from, and settle it.

    \b
    Example:
      nono adopt batch_68f0 -m openai/gpt-4o-mini -i batch_input.jsonl
    """
    from nono.runs.starting import adopt as adopt_batch

    read_env_file(env_file)
    found = adopt_batch(
        batch,
        model=model,
        input_path=input_path,
        name=name,
        base_url=base_url,
        options=provider_options(options),
    )
    sys.exit(follow(found, quiet=quiet, as_json=as_json))
