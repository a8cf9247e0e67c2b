"""Plan a data set as a run would: what it would do and cost, before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from nono.datasets import Source, open_source
from nono.providers import Provider
from nono.runs import cost
from nono.runs.bench import FinishSync, Settings
from nono.runs.folder import RunFolder
from nono.runs.plan import ROWS_PER_PART, Plan
from nono.runs.plan import plan as cut
from nono.runs.spec import RunSpec
from nono.runs.words import Words, asked_by, finish_sync_of, make_spec
from nono.runs.workspace import Workspace

if TYPE_CHECKING:
    from nono.runs.earlier import EarlierAnswers


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a run would do and cost; nothing was sent and nothing was kept."""

    plan: Plan
    spec: RunSpec
    estimate: cost.Estimate
    # What the last rows may cost more, if all of them that may be are asked without a batch.
    finish_sync: cost.LastRows | None = None

    def to_dict(self) -> dict[str, Any]:
        plan, estimate = self.plan, self.estimate
        return {
            "model": f"{self.spec.provider}/{self.spec.task.model}",
            "rows": plan.rows,
            "requests": plan.requests,
            "borrowed": plan.borrowed,
            "reused": plan.reused,
            "batches": sum(1 for part in plan.parts if part.requests),
            "bytes": plan.file_bytes,
            "warnings": list(plan.warnings),
            **estimate.to_dict(),
            **({"finish_sync": self.finish_sync.to_dict()} if self.finish_sync else {}),
        }


def plan(
    source: Any,
    *,
    model: str,
    prompt: str | None = None,
    format: str | None = None,
    home: str | os.PathLike[str] | None = None,
    rows_per_part: int = ROWS_PER_PART,
    reuse: bool | str | Sequence[str] = False,
    finish_sync: bool | FinishSync = False,
    **words: Unpack[Words],
) -> PlanReport:
    """What `run` would do with the same words: rows, batches, tokens, a range of cost. Reads the data; sends nothing.

    Raises PlanRefused with everything that is wrong with data, template or schema.
    """
    source, asked = asked_by(source, words)
    spec, provider = make_spec(model=model, prompt=prompt, **asked)
    # No key is asked for: it is the address that tells whose answers earlier runs have.
    there = replace(spec, base_url=provider.account(api_key="none", base_url=spec.base_url).base_url) if reuse else spec
    with earlier_of(home, there, provider, reuse) as earlier:
        planned = cut_up(open_source(source, format=format), spec, provider, None, rows_per_part, earlier)
    wish = finish_sync_of(finish_sync, Settings().max_attempts)
    last = cost.estimate_last(planned, spec.task, provider, wish.most_rows) if wish else None
    return PlanReport(planned, spec, cost.estimate(planned, spec.task, provider), last)


def earlier_of(
    home: str | os.PathLike[str] | None, spec: RunSpec, provider: Provider, reuse: bool | str | Sequence[str]
) -> AbstractContextManager[EarlierAnswers | None]:
    """The answers of earlier runs that may be reused: of none, of all, or of those that are named."""
    if not reuse:
        return nullcontext()
    from nono.runs.earlier import earlier_answers

    names = () if reuse is True else (reuse,) if isinstance(reuse, str) else tuple(reuse)
    return earlier_answers(Workspace(home), spec, provider, names)


def cut_up(
    source: Source,
    spec: RunSpec,
    provider: Provider,
    folder: RunFolder | None,
    rows_per_part: int,
    earlier: EarlierAnswers | None = None,
) -> Plan:
    planned = cut(
        source,
        spec.task,
        provider,
        prompt=spec.prompt,
        id_column=spec.id_column,
        images=spec.images,
        dedupe=spec.sends_once,
        earlier=earlier.find if earlier is not None else None,
        shards_into=folder.shards if folder else None,
        rows_into=folder.rows if folder else None,
        rows_per_part=rows_per_part,
        tokens_per_part=spec.settings.max_enqueued_tokens,
    )
    notes = earlier.notes if earlier is not None else ()
    return msgspec.structs.replace(planned, warnings=(*planned.warnings, *notes)) if notes else planned
