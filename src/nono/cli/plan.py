"""`nono check` and `nono plan`: what can be known before anything is sent."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from nono.cli.asking import asking_options, finish_sync_options, reuse_options, words
from nono.cli.choices import json_option


@click.command()
@asking_options
@json_option
def check(as_json: bool, **given: Any) -> None:
    """Lint rows, prompt, schema, ids and sizes; no network, no key. Exit code 9 if something is wrong.

    \b
    Example:
      nono check reviews.csv -p "Sentiment of: {{ text }}" -m openai/gpt-4o-mini
    """
    import nono
    from nono.cli.live import counted
    from nono.runs.problems import PlanRefused

    source = given.pop("source")
    try:
        report = nono.plan(source, **words(given))
    except PlanRefused as refused:
        if as_json:
            problems = [asdict(problem) for problem in refused.problems]
            click.echo(json.dumps({"ok": False, "count": refused.count, "problems": problems}))
        raise
    if as_json:
        click.echo(json.dumps({"ok": True, **report.to_dict()}))
    else:
        click.echo(f"ok: {counted(report.plan.rows, 'row')}, {counted(report.plan.requests, 'request')}", err=True)
        for warning in report.plan.warnings:
            click.echo(f"warning: {warning}", err=True)


@click.command()
@asking_options
@reuse_options
@finish_sync_options
@json_option
def plan(as_json: bool, **given: Any) -> None:
    """Rows, batches, tokens, a range of cost and the limits; nothing is sent.

    \b
    Example:
      nono plan reviews.parquet -p prompt.j2 -m gemini/gemini-2.5-flash
    """
    import nono

    source = given.pop("source")
    report = nono.plan(source, **words(given))
    found = report.to_dict()
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"model     {found['model']}")
    click.echo(f"rows      {found['rows']:,}")
    click.echo(
        f"requests  {found['requests']:,}" + (f" ({found['borrowed']:,} rows share one)" if found["borrowed"] else "")
    )
    if found["reused"]:
        click.echo(f"reused    {found['reused']:,} of {found['rows']:,} rows have answers from earlier runs")
    click.echo(f"batches   {found['batches']:,}, {found['bytes']:,} bytes")
    click.echo(report.estimate.sentence())
    if report.finish_sync is not None:
        click.echo(report.finish_sync.sentence())
    for warning in found["warnings"]:
        click.echo(f"warning   {warning}")
