"""The verbs that look at runs: ls, status, show, errors, cost. stdout is data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from nono.cli.choices import json_option, named_run_argument, quiet_option, run_argument
from nono.runs.ledger.states import RunState

STATES = [state.value for state in RunState]


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Rows as aligned text: a header where a person looks, tab-separated values where a program reads."""
    import sys

    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(_plain(row.get(key)) for key in columns))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in columns.values():
        table.add_column(title)
    for row in rows:
        table.add_row(*(_plain(row.get(key)) for key in columns))
    Console().print(table)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def _instant(at_ms: int | None) -> str:
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


@click.command()
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@quiet_option
@json_option
def ls(state: str | None, quiet: bool, as_json: bool) -> None:
    """List runs, newest first.

    \b
    Example:
      nono ls -q --state running | xargs nono watch
    """
    from nono.runs.status import read_status
    from nono.runs.workspace import Workspace

    workspace = Workspace()
    found = [read_status(workspace.ledger, run.id) for run in workspace.runs() if state in (None, run.state)]
    if quiet:
        for status in found:
            click.echo(status.id)
        return
    if as_json:
        click.echo(json.dumps([status.to_dict() for status in found]))
        return
    rows = [status.to_dict() | {"created": _instant(status.created_at)} for status in found]
    columns = {"id": "run", "name": "name", "model": "model", "state": "state", "rows": "rows", "succeeded": "ok"}
    _table(rows, columns | {"failed": "failed", "left": "left", "cost_usd": "cost $", "created": "created"})


@click.command()
@run_argument
@json_option
def status(run: str | None, as_json: bool) -> None:
    """How a run stands; without RUN, the newest that is not over.

    \b
    Example:
      nono status nightly-tags
    """
    from nono.cli import live
    from nono.runs.status import read_status
    from nono.runs.workspace import Workspace

    # Without the engine and all that plans: whoever asks every second is answered at once.
    workspace = Workspace()
    run_id = workspace.find(run, to="steer" if run is None else "read").id
    found = read_status(workspace.ledger, run_id)
    counts = workspace.ledger.error_counts(found.id) if found.failed or found.sent_again else []
    if as_json:
        click.echo(json.dumps(found.to_dict() | {"errors": {one.code: one.count for one in counts}}))
        return
    click.echo(f"{found.name or found.id}  {found.model}  {found.state}")
    click.echo(f" rows    {live.rows(found)}")
    click.echo(f" batches {live.batches(found)}")
    click.echo(f" money   {live.money(found)}")
    if counts:
        click.echo(f" errors  {live.errors(found, counts)}")
    if not found.over and (waits := live.waits(found)) != found.state:
        click.echo(f" {waits}")


@click.command()
@named_run_argument
@click.argument("row")
@json_option
def show(run: str, row: str, as_json: bool) -> None:
    """One row of a run: its input, outcome and answer. ROW is a custom_id, or a row number from 0.

    \b
    Example:
      nono show nightly-tags 17
    """
    from nono.cli.steer import opened

    found = opened(run, to="read").row_result(row)
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    for name, value in found.items():
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
        click.echo(f"{name}: {text}")


@click.command()
@run_argument
@click.option("--limit", default=5, show_default=True, help="Examples per reason.")
@json_option
def errors(run: str | None, limit: int, as_json: bool) -> None:
    """What failed, grouped by reason, with examples; without RUN, of the newest.

    \b
    Example:
      nono errors nightly-tags
    """
    from nono.cli.steer import opened

    found = opened(run, to="read")
    groups = found.errors(examples=limit)
    if as_json:
        click.echo(json.dumps([group.to_dict() for group in groups]))
        return
    if not groups:
        click.echo(f"no errors in run {found.id}", err=True)
    for group in groups:
        click.echo(f"{group.count:,}\t{group.outcome}\t{group.code}\t{group.message}")
        for custom_id in group.examples:
            click.echo(f"\t{custom_id}")


@click.command()
@run_argument
@json_option
def cost(run: str | None, as_json: bool) -> None:
    """Tokens and money: of RUN, or of every run and their sum.

    \b
    Example:
      nono cost --json
    """
    from nono.runs.money import dollars
    from nono.runs.status import read_status
    from nono.runs.workspace import Workspace

    workspace = Workspace()
    runs = [workspace.find(run)] if run else workspace.runs()
    rows: list[dict[str, Any]] = []
    for row in runs:
        found = read_status(workspace.ledger, row.id)
        rows.append(
            {
                "run": found.id,
                "name": found.name,
                "model": found.model,
                "input_tokens": found.input_tokens,
                "output_tokens": found.output_tokens,
                "cost_usd": found.cost_usd,
                "committed_usd": found.committed_usd,
                "sync_requests": found.sync_requests,
                "sync_cost_usd": found.sync_cost_usd,
                "reused": found.reused,
            }
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = {"run": "run", "model": "model", "input_tokens": "in", "output_tokens": "out", "cost_usd": "spent $"}
    _table(rows, columns | {"reused": "rows reused"})
    if run is None and rows:
        click.echo(f"total {dollars(sum(row['cost_usd'] or 0.0 for row in rows))}", err=True)
