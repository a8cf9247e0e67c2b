"""`nono run`: a data set in, one outcome per row out."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from nono.cli.asking import asking_options, finish_sync_options, reuse_options, words
from nono.cli.choices import confirm, env_file_option, json_option, quiet_option, read_env_file, yes_option
from nono.errors import SettingsError


@click.command()
@asking_options
@reuse_options
@finish_sync_options
@click.option(
    "-o", "--output", help="Write the results here when the run is over: .jsonl, .csv, .parquet, .arrow, or -."
)
@click.option("--name", help="What to call the run.")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0),
    help="A budget in US dollars; the run stops before a batch would pass it.",
)
@click.option(
    "--max-attempts", type=click.IntRange(min=1), default=3, show_default=True, help="How often a row is sent at most."
)
@click.option(
    "--reask",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often an answer that does not fit the schema is sent back with what is wrong with it.",
)
@click.option(
    "--max-batches",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Batches at the provider at a time.",
)
@click.option(
    "--provider-files",
    type=click.Choice(["delete", "keep"]),
    default="delete",
    show_default=True,
    help="What to do with files at the provider when the results are on disk.",
)
@click.option("--new", is_flag=True, help="Start anew, even if the same run is there already.")
@click.option("--detach", is_flag=True, help="Leave when everything is sent; `nono watch` brings the answers.")
@yes_option
@quiet_option
@json_option
@env_file_option
def command(
    source: str,
    output: str | None,
    max_cost: float | None,
    new: bool,
    detach: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
    env_file: str | None,
    **given: Any,
) -> None:
    """Send a data set, wait, and write one outcome per row. The same line again goes on with the same run.

    \b
    Example (with `nono serve` running and its two variables set):
      nono run reviews.csv -p "Sentiment of: {{ text }}" -m openai/gpt-4o-mini -o answers.csv
    """
    import nono
    from nono.cli.exits import Exit
    from nono.cli.live import counted
    from nono.cli.steer import finish, follow
    from nono.runs.money import dollars

    read_env_file(env_file)
    if as_json and output == "-":
        raise SettingsError("--json and the results would both go to stdout", hint="name a file: -o results.jsonl")
    if output is not None:
        from nono.runs.results import check_target

        check_target(output)  # now, not after hours
        check_distinct(output, source, given["prompt"])
    asked = words(given)
    run = nono.run(source, new=new, max_cost=max_cost, **asked)
    status = run.status
    known = (bool(status.batches) and status.state != "running") or status.succeeded > 0
    if not quiet:
        word = "found again" if known else "planned"
        click.echo(f"run {run.id} is {word}: {counted(status.rows, 'row')} for {status.model}", err=True)
        for warning in () if known else run.warnings:
            click.echo(f"warning: {warning}", err=True)
        if status.reused:
            click.echo(f"{status.reused:,} of {status.rows:,} rows have answers from earlier runs", err=True)
    if quiet and not as_json and output != "-":
        click.echo(run.id)
    if status.over:
        if as_json:
            click.echo(json.dumps(status.to_dict()))
        code = finish(status, quiet=quiet, exports=output is not None)
    else:
        estimate = run.estimated_usd
        if max_cost is None and estimate is not None and estimate > COSTLY_USD and not known:
            try:
                confirm(f"this may cost up to about {dollars(estimate)}; go on?", yes=yes)
            except (click.Abort, SettingsError):
                click.echo(f"nothing was sent; the same line goes on, `nono purge {run.id}` forgets it", err=True)
                raise
        code = follow(run, quiet=quiet, as_json=as_json, exports=output is not None, until_submitted=detach)
    if output is not None and code in (Exit.ANSWERED, Exit.ROWS_WITHOUT_ANSWER):
        written = run.export(output if output == "-" else Path(output))
        if not quiet:
            click.echo(f"{counted(written, 'row')} written to {output}", err=True)
    elif output is not None:
        click.echo(f"nothing is written to {output} yet; when all is there: nono export {run.id} -o {output}", err=True)
    sys.exit(code)


def check_distinct(output: str, *inputs: str | None) -> None:
    """Raise SettingsError where the results would take the place of what they are made from."""
    for given in inputs:
        path = Path((given or "").removeprefix("@"))
        with suppress(OSError, ValueError):  # not every text is a path
            if path.is_file() and path.samefile(output):
                raise SettingsError(f"{output} is what the run reads", hint="write the results to another file")


# A run that is expected to cost more is not started without a budget or a yes.
COSTLY_USD = 5.0
