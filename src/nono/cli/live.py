"""The live view of a run: rows, batches, oldest wait, deadline, money, errors. In a pipe: plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nono.runs.events import Event, Happened
from nono.runs.ledger import CodeCount, RunState
from nono.runs.money import dollars
from nono.runs.status import RunStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR_CELLS = 40
# Events that are told beside the view.
TOLD = {
    Happened.TROUBLE: "trouble, trying again",
    Happened.CREATE_UNCLEAR: "a create's answer was lost; asking the provider's list",
    Happened.ADOPTED: "found the batch of a lost answer",
    Happened.DOUBLE_CANCELLED: "cancelled a double",
    Happened.QUARANTINED: "waits for `nono resolve`",
    Happened.NO_ROOM: "waiting for room",
    Happened.SPLIT: "split a shard that is too large",
    Happened.REFUSED: "refused",
    Happened.UNKNOWN_STATE: "a state this version does not know",
    Happened.ANSWERS_GONE: "the provider has no answer file any more",
    Happened.ODD_ANSWERS: "answer lines that fit no request",
    Happened.RETRY_PLANNED: "sending again",
    Happened.STRAGGLERS: "time is nearly over: the last rows are asked without a batch, at the full price",
    Happened.ASKED: "asked without a batch",
    Happened.NOT_CLEANED: "not cleaned up at the provider",
}
# Where there is no terminal, a line at most this often, and one whenever a batch changes its state.
PLAIN_EVERY_S = 30.0
MOST_CODES = 4
# What ends sooner is not told by the clock.
SOON_MS = 60_000


class LiveView:
    """Shows one status after the other on stderr; a context manager that leaves the last one standing."""

    def __init__(self, errors: Callable[[], Sequence[CodeCount]], *, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live

        self._quiet = quiet
        self._console = Console(stderr=True)
        self._fancy = self._console.is_terminal and not quiet
        self._live = Live(console=self._console, auto_refresh=False, transient=False) if self._fancy else None
        self._last_line_at = float("-inf")
        self._last_batches: dict[str, int] = {}
        # Read again only when a part has been settled.
        self._read_errors = errors
        self._errors: Sequence[CodeCount] | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, event: Event) -> None:
        """Say what a person may want to act upon: trouble, a refusal, a wait for room."""
        if event.what is Happened.SETTLED:
            self._errors = None
        word = TOLD.get(event.what)
        if word is None or self._quiet:
            return
        detail = ", ".join(f"{name} {value}" for name, value in event.detail.items() if value is not None)
        self._console.print(f"{word}: {detail}", style="yellow", highlight=False, soft_wrap=True)

    def show(self, status: RunStatus) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(picture(status, self._known_errors()), refresh=True)
            return
        changed = status.batches != self._last_batches
        if changed or time.monotonic() - self._last_line_at >= PLAIN_EVERY_S:
            print(line(status, self._known_errors()), file=sys.stderr, flush=True)
            self._last_line_at, self._last_batches = time.monotonic(), status.batches

    def _known_errors(self) -> Sequence[CodeCount]:
        if self._errors is None:
            self._errors = self._read_errors()
        return self._errors


def picture(status: RunStatus, counts: Sequence[CodeCount]) -> RenderableType:
    """The status as some lines with a bar."""
    from rich.text import Text

    text = Text()
    title = status.name or status.id
    text.append(f"{title}", style="bold")
    text.append(f"  {status.model}  {counted(status.rows, 'row')}  {money(status)}\n")
    text.append(" rows    ")
    text.append(bar(status), style="green")
    text.append(f"  {rows(status)}\n")
    text.append(f" batches {batches(status)}\n")
    text.append(f" {waits(status)}\n", style="dim")
    if counts:
        text.append(f" errors  {errors(status, counts)}      nono errors {title}\n", style="red")
    if not status.over:
        text.append(" Ctrl-C leaves safely: batches go on at the provider.", style="dim")
    return text


def line(status: RunStatus, counts: Sequence[CodeCount] = ()) -> str:
    """The status as one line."""
    told = [rows(status), f"batches {batches(status)}", money(status)]
    if status.oldest_batch_at is not None:
        told.append(waits(status))
    if counts:
        told.append(f"errors {errors(status, counts)}")
    return f"{status.name or status.id}: {' | '.join(told)}"


def bar(status: RunStatus) -> str:
    done = status.succeeded + status.failed + min(status.running_done, status.left)
    filled = BAR_CELLS * done // status.rows if status.rows else BAR_CELLS
    return "█" * filled + "·" * (BAR_CELLS - filled)


def rows(status: RunStatus) -> str:
    done = status.succeeded + status.failed
    at_provider = f"{status.running_done:,} answered at the provider, " if status.running_done else ""
    again = f" ({status.sent_again:,} sent again)" if status.sent_again else ""
    reused = f"  {status.reused:,} from earlier runs" if status.reused else ""
    share = 100 * done / status.rows if status.rows else 100.0
    left = f"{at_provider}{status.left:,} left{again}"
    return f"{status.succeeded:,} ok  {status.failed:,} failed  {left}  {share:.1f}%{reused}"


def batches(status: RunStatus) -> str:
    return " │ ".join(f"{count:,} {word}" for word, count in status.batches.items()) or "none"


def errors(status: RunStatus, counts: Sequence[CodeCount]) -> str:
    """The most frequent codes, and what will become of their rows while the run is under way."""
    return " · ".join(f"{one.code} {one.count:,}{_fate(status, one)}" for one in counts[:MOST_CODES])


def _fate(status: RunStatus, one: CodeCount) -> str:
    if status.state is not RunState.RUNNING:
        return ""
    if not one.again:
        return " (won't be sent again)"
    return " (sent again)" if one.again == one.count else f" ({one.again:,} sent again)"


def money(status: RunStatus) -> str:
    """What is spent, of how much at most by the guess, what is under way, and the budget."""
    spent = status.cost_usd
    cap = f" (cap {dollars(status.max_cost_usd)})" if status.max_cost_usd is not None else ""
    if spent is None and status.estimated_usd is None:
        tokens = status.input_tokens + status.output_tokens
        return (f"{tokens:,} tokens, price unknown" if tokens else "price unknown") + cap
    told = f"{dollars(spent or 0.0)} spent"
    if status.sync_cost_usd:
        told += f" ({dollars(status.sync_cost_usd)} of it without a batch)"
    if status.estimated_usd and not status.over:
        told += f" of at most ~{dollars(status.estimated_usd)}"
    if status.committed_usd:
        told += f", ~{dollars(status.committed_usd)} under way"
    return told + cap


def waits(status: RunStatus) -> str:
    now = time.time() * 1000
    told = []
    if status.oldest_batch_at is not None:
        told.append(f"oldest running {duration((now - status.oldest_batch_at) / 1000)}")
    if status.first_deadline_at is not None:
        told.append(f"window ends in {duration((status.first_deadline_at - now) / 1000)}")
    if status.last_result_at is not None and not status.over:
        told.append(f"last result {duration((now - status.last_result_at) / 1000)} ago")
    if status.end_from is not None and status.end_until is not None and status.end_until - now > SOON_MS:
        told.append(f"ends {clock_time(max(now, status.end_from), now)} to {clock_time(status.end_until, now)}")
    if status.reason:
        told.append(status.reason)
    return " · ".join(told) or str(status.state)


def clock_time(at_ms: float, now_ms: float) -> str:
    """`03:40` of today, `Tue 03:40` of another day, on this machine's clock."""
    at, now = (time.localtime(ms / 1000) for ms in (at_ms, now_ms))
    return time.strftime("%H:%M" if at[:3] == now[:3] else "%a %H:%M", at)


def counted(number: int, what: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`9h12m`, `4m05s`, `12s`."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
