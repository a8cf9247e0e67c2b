"""Every fault there is, as one table: its name, what it does, whom it can befall, what it can be told.

One of the last columns says how: `act` answers a call in its own way, `view` changes what a reply shows of a batch,
`fate` decides about a batch, `row` fails a request, `line` spoils an answer line, `order` puts lines elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nono.server.faults import fates, lines, replies, views
from nono.server.faults.calls import CALLS
from nono.server.faults.parameters import FOREVER, Parameter, number, one_of, seconds, share, switch, text


@dataclass(frozen=True, slots=True)
class Fault:
    """`calls` are what it befalls unless a rule says otherwise; with `only`, a rule cannot say otherwise.

    `share` is how many of its occasions it befalls where a rule names none. `readable`: an answer line that it touched
    can still be read; `breaks_json`: what it leaves is no JSON, so that it spares answers that stand in a reply.
    """

    name: str
    does: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    only: bool = False
    share: float = 1.0
    readable: bool = False
    breaks_json: bool = False
    act: replies.Act | None = None
    view: views.View | None = None
    fate: fates.Decide | None = None
    row: fates.Fail | None = None
    line: lines.Spoil | None = None
    order: lines.Order | None = None


_SHOWING = ("list", "get")
_STATUS = number(503, 400, 599)
_REFUSAL = {"retry_after": text(None), "code": text(None), "message": text(None), "effect": switch(False)}

_ROWS = (
    # calls
    Fault("drop-answer", "the call takes effect; its answer never comes", calls=CALLS, act=replies.drop_answer),
    Fault("reset", "the connection is reset before anything happens", calls=CALLS, act=replies.reset),
    Fault(
        "hang",
        "nothing comes for so long, then the connection closes; with `effect` the call was performed",
        {"seconds": seconds(60), "effect": switch(False)},
        calls=CALLS,
        act=replies.hang,
    ),
    Fault(
        "late",
        "the connection is reset at once; the call arrives and takes effect so much later",
        {"seconds": seconds(30)},
        calls=("create", "cancel", "delete"),
        only=True,
        act=replies.late,
    ),
    Fault(
        "refuse",
        "refused with `status` in the protocol's words; `retry_after` is seconds, `date:SECONDS`, or any text",
        {"status": _STATUS, **_REFUSAL},
        calls=CALLS,
        act=replies.refuse,
    ),
    Fault(
        "rate-limit",
        "refused with 429, as a provider does that is asked too often",
        {"status": number(429, 400, 599), **_REFUSAL},
        calls=CALLS,
        act=replies.refuse,
    ),
    Fault(
        "html",
        "a proxy's page in the place of an answer; with `effect` the call was performed",
        {"status": number(502, 200, 599), "effect": switch(False)},
        calls=CALLS,
        act=replies.page,
    ),
    Fault("garble", "the call takes effect; its answer is a 2xx that breaks off", calls=CALLS, act=replies.garble),
    Fault(
        "drip",
        "the answer comes in pieces of so many `bytes`, with a pause after each",
        {"bytes": number(1_000, 1, 1 << 30), "seconds": seconds(1)},
        calls=CALLS,
        act=replies.drip,
    ),
    Fault(
        "truncate",
        "the answer ends at byte `at`: too early for its Content-Length, or, without `length`, as if that were all",
        {"at": number(100, 0, 1 << 40), "length": switch(True)},
        calls=("content",),
        act=replies.truncate,
    ),
    Fault(
        "file-lag",
        "a file is unknown for so long after its upload",
        {"seconds": seconds(5)},
        calls=("create", "file", "content"),
        only=True,
        act=replies.file_lag,
    ),
    Fault("gone", "the file is not there (any more)", calls=("content", "file"), act=replies.gone),
    Fault(
        "token-limit",
        "the account's queue takes so many `tokens`: a batch beyond it is refused as its provider does",
        {"tokens": number(90_000, 1, 1 << 50)},
        calls=("create",),
        only=True,
        act=replies.token_limit,
        fate=fates.token_limit,
    ),
    # what replies show of batches
    Fault(
        "list-lag",
        "the list does not show a batch for so long after its creation",
        {"seconds": seconds(60)},
        calls=("list",),
        only=True,
        view=views.list_lag,
    ),
    Fault(
        "late-output",
        "an ended batch names its answer files so much later",
        {"seconds": seconds(40)},
        calls=_SHOWING,
        only=True,
        view=views.late_output,
    ),
    Fault(
        "null-output",
        "an ended batch never names its answer files",
        {"seconds": seconds(FOREVER)},
        calls=_SHOWING,
        only=True,
        view=views.late_output,
    ),
    Fault("empty-ids", 'file ids that are not there are ""', calls=_SHOWING, only=True, view=views.empty_ids),
    Fault(
        "unknown-state",
        "a batch at work is in a state that nobody has heard of",
        {"word": text("PONDERING")},
        calls=_SHOWING,
        only=True,
        view=views.unknown_state,
    ),
    Fault("no-counts", "the counters of a batch are missing", calls=_SHOWING, only=True, view=views.no_counts),
    Fault(
        "no-tag",
        "metadata (display names) do not come back",
        calls=_SHOWING,
        only=True,
        view=views.no_tag,
    ),
    # batches
    Fault(
        "stuck",
        "a batch does not begin for so long",
        {"seconds": seconds(FOREVER)},
        fate=fates.stuck,
    ),
    Fault(
        "fail",
        "a batch fails when it is looked at; nothing of it runs",
        {"code": text("server_error"), "message": text("The batch failed for an internal reason.")},
        fate=fates.fail,
    ),
    Fault("expire", "a batch expires when so much of it has run", {"after": share(0.5)}, fate=fates.expire),
    Fault("cancel", "a batch is cancelled when so much of it has run", {"after": share(0.5)}, fate=fates.cancel),
    # requests
    Fault(
        "row-error",
        "a request fails whenever it is asked; `times` counts for each by itself",
        {"status": number(429, 400, 599), "code": text(None), "message": text(None)},
        share=0.05,
        row=fates.row_error,
    ),
    # answer lines
    Fault(
        "shuffle-lines",
        "answer lines change places within so many lines",
        {"window": number(1_000, 2, 1_000_000)},
        order=lines.shuffle,
    ),
    Fault("duplicate-lines", "an answer line comes twice", share=0.05, readable=True, line=lines.duplicate),
    Fault("missing-lines", "an answer line is missing", share=0.05, line=lines.leave_out),
    Fault(
        "corrupt-lines",
        "an answer line is damaged",
        {"how": one_of(*lines.DAMAGE)},
        share=0.05,
        breaks_json=True,
        line=lines.damage,
    ),
    Fault(
        "odd-lines",
        "an answer line is odd, and still JSON: CRLF, blank lines around it, spaces, a strange separator inside",
        {"how": one_of(*lines.ODDITIES)},
        share=0.05,
        readable=True,
        breaks_json=True,
        line=lines.make_odd,
    ),
    Fault(
        "foreign-lines",
        "another batch's answer line comes as well: its id is not among the requests",
        share=0.05,
        readable=True,
        line=lines.add_foreign,
    ),
    Fault("lost-ids", "an answer line has lost its id", share=0.05, line=lines.lose_id),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ROWS}
"""By name, in the order in which the documentation shows them."""


def table() -> str:
    """The catalogue as the documentation shows it."""
    rows = ["| fault | what happens | befalls | parameters |", "|---|---|---|---|"]
    for fault in _ROWS:
        befalls = ", ".join(fault.calls) if fault.calls != CALLS else "any call"
        given = ", ".join(f"`{name}` ({_shown(one)})" for name, one in fault.parameters.items())
        rows.append(f"| `{fault.name}` | {fault.does} | {befalls or _whom(fault)} | {given} |")
    return "\n".join(rows)


def _whom(fault: Fault) -> str:
    kind = "batches" if fault.fate else "requests" if fault.row else "answer lines"
    return kind if fault.share == 1.0 else f"{kind}, {fault.share:.0%}"


def _shown(parameter: Parameter) -> str:
    default = parameter.default
    if parameter.words:
        return " / ".join(parameter.words)
    return "–" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
