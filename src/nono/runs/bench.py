"""What every step works with: the ledger, the provider, the sender, the clock, the run's folder — and how to use them.

A step reads an attempt, makes at most one foreign call between two commits, and commits where the attempt went. The
only ways to the outside are `perform` and `commit`; a test that wants to crash a run at every boundary wraps these two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from nono.errors import InputError, KeyRefused, NonoError, NotSent, OutOfQuota
from nono.exchange import Flow, Send, drive
from nono.model import RemoteBatch
from nono.providers import Provider, Task
from nono.retry import RetryPolicy, retrying
from nono.runs.clock import Clock
from nono.runs.events import Event, Happened
from nono.runs.folder import RunFolder
from nono.runs.held import Held
from nono.runs.ledger import AttemptRow, AttemptState, Ledger, RunRow, ShardRow, Transaction
from nono.runs.plan import Plan

if TYPE_CHECKING:
    from nono.runs.cost import Price
    from nono.runs.settle import PartSummary
    from nono.runs.settlers import Settlers

T = TypeVar("T")

# States whose age decides something: it is counted from the moment of entry, so that no jump of the clock adds to it.
WATCHED = frozenset({AttemptState.RECONCILE, AttemptState.FENCED, AttemptState.CREATED})

# One quick repetition inside a step; patience belongs to the ledger's `due_at`, where a crash does not forget it.
STEP_RETRIES = RetryPolicy(tries=2, cap_s=2.0, longest_hint_s=5.0)

# Tries (some 15 s in all) before an address that has never answered is taken for a wrong one.
TRIES_UNREACHED = 4


class RunStops(NonoError):
    """The run cannot go on for now: `reason` is a word for programs, the message is for the person."""

    def __init__(self, reason: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FinishSync:
    """Ask the last rows without a batch, at the full price, rather than wait for another one.

    It happens when all batches at work end within `before_s` seconds and leave at most `most_rows` requests without an
    answer: they are cancelled, what they answered is kept, and the rest is asked, `calls` requests at a time.
    """

    before_s: float = 3600.0
    most_rows: int = 1_000
    calls: int = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How eager and how patient a run is. Durations in seconds."""

    max_batches: int = 50
    max_attempts: int = 3
    # How often an answer that does not fit the schema is sent back with what is wrong with it.
    reask: int = 0
    finish_sync: FinishSync | None = None
    max_cost_usd: float | None = None
    max_enqueued_tokens: int | None = None
    provider_files: str = "delete"
    workers: int = 4
    # Processes that settle parts; None: as many as make it quicker.
    settlers: int | None = None
    # Polls are frequent while batches are young, rare when they are hours old.
    poll_first_s: float = 1.0
    poll_cap_s: float = 60.0
    # How long a lost create is looked for before its input file is deleted, and after that until it is given up: that
    # a listing shows a batch within the second of the two is a fact that only a live key can confirm.
    reconcile_s: float = 15.0
    fence_s: float = 90.0
    # Failures of one step in a row before the trouble is called permanent (about a day of backing off).
    patience: int = 60

    def __post_init__(self) -> None:
        for name in ("max_batches", "max_attempts"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"{name} is {count!r}", hint="a whole number from 1")
        # Written so that "not a number" is refused, too: no sum would ever pass it.
        if self.max_cost_usd is not None and not self.max_cost_usd >= 0:
            raise InputError(f"max_cost is {self.max_cost_usd!r}", hint="a budget in US dollars, from 0")


@dataclass(slots=True)
class Bench:
    """The context of all steps of one engine."""

    ledger: Ledger
    run: RunRow
    provider: Provider
    task: Task
    send: Send
    clock: Clock
    folder: RunFolder
    settings: Settings
    plan: Plan
    price: Price | None
    tell: Callable[[Event], object]
    # What a token costs without a batch.
    full_price: Price | None = None
    # The batch made elsewhere whose answers the run is there for.
    adopts: str | None = None
    wake: threading.Event = field(default_factory=threading.Event)
    # Set when the run is to be left: a step that takes long ends early then.
    leaving: threading.Event = field(default_factory=threading.Event)
    # Steps run in threads: one at a time decides about spending, and one at a time settles a part.
    admission: threading.Lock = field(default_factory=threading.Lock)
    settling: Held = field(default_factory=Held)
    # Who settles, if there are threads; else whoever asks for it does.
    settlers: Settlers | None = None
    # Batches as last seen, so that a step need not ask again what a poll has just told.
    seen: dict[str, RemoteBatch] = field(default_factory=dict)
    # How many batches of ours were at work when the provider had no room for an attempt: it waits until they are fewer.
    crowds: dict[int, int] = field(default_factory=dict)
    # Batches that the last poll found refused for want of room: until each is dealt with, it only seems to be at work.
    refused: set[str] = field(default_factory=set)
    cancel_asked: set[str] = field(default_factory=set)
    # Whether the provider has answered anything yet.
    reached: bool = False
    # How old an attempt's state was when this process first asked, and when that was by the clock that does not jump.
    ages: dict[tuple[int, AttemptState, int], tuple[float, float]] = field(default_factory=dict)
    # What the last settling of a part found, by part; made anew when it is not there.
    summaries: dict[int, PartSummary] = field(default_factory=dict)

    def now(self) -> int:
        return self.clock.now_ms()

    def age_s(self, attempt: AttemptRow) -> float:
        """How long an attempt has been in its state; a clock that jumps forward makes nothing older."""
        elapsed_s = self.clock.elapsed_s()
        wall_s = max(0.0, (self.now() - attempt.since) / 1000)
        first_s, asked_s = self.ages.setdefault((attempt.id, attempt.state, attempt.since), (wall_s, elapsed_s))
        return first_s + elapsed_s - asked_s

    def perform(self, flow: Flow[T]) -> T:
        """Perform a flow; calls that may be repeated are, once, at once."""
        found = drive(retrying(flow, STEP_RETRIES), self.send, sleep=lambda s: self.clock.wait(s, self.wake))
        self.reached = True
        return found

    @contextmanager
    def commit(self) -> Iterator[Commit]:
        """One transaction as the run's owner; its events are told after it is durable."""
        told: list[Event] = []
        with self.ledger.transaction(run_id=self.run.id, epoch=self.run.epoch) as work:
            yield Commit(self, work, told)
        for event in told:
            self.tell(event)

    def shard(self, attempt: AttemptRow) -> ShardRow:
        return self.ledger.shard(attempt.shard_id)

    def batch_pages(self) -> Iterator[list[RemoteBatch]]:
        """The provider's batches, newest first; a page is asked for when it is wanted."""
        cursor: str | None = None
        while True:
            page, cursor = self.perform(self.provider.list_page(cursor))
            yield page
            if cursor is None:
                return

    def enqueued(self, ahead_of: AttemptRow) -> tuple[int, int]:
        """`Ledger.enqueued` for the run's account and model."""
        return self.ledger.enqueued(self.run.account, self.run.model, ahead_of=ahead_of, now=self.now())

    def file_name(self, attempt: AttemptRow, shard: ShardRow) -> str:
        """The input file's name at the provider and the folder of the answers: opaque, unique, up to 40 characters."""
        return file_name(self.run.id, shard.no, attempt.no)


def run_prefix(run_id: str) -> str:
    """What every file name and tag of a run begins with."""
    return f"nono-{run_id}-"


def file_name(run_id: str, shard_no: int, attempt_no: int) -> str:
    return f"{run_prefix(run_id)}{shard_no}-{attempt_no}"


def tag(run_id: str, shard_no: int, attempt_no: int, create_no: int) -> str:
    """Our mark inside a batch; a create after a refused batch gets a new one, so that the old one is never adopted."""
    return f"{file_name(run_id, shard_no, attempt_no)}-{create_no}"


@dataclass(frozen=True, slots=True)
class Commit:
    """An open transaction of the run's owner."""

    bench: Bench
    work: Transaction
    told: list[Event]

    def event(self, what: Happened, attempt: AttemptRow | None = None, **detail: Any) -> None:
        bench, now = self.bench, self.bench.now()
        self.work.event(now, bench.run.id, what, attempt_id=attempt.id if attempt else None, **detail)
        self.told.append(Event(now, bench.run.id, what, attempt.tag if attempt else None, detail))

    def move(
        self,
        attempt: AttemptRow,
        state: AttemptState,
        *,
        due_in_s: float = 0.0,
        **changes: Any,
    ) -> AttemptRow:
        """Move an attempt to another state, due after `due_in_s` seconds; its count of failures starts anew."""
        now = self.bench.now()
        fresh: dict[str, Any] = {"state": state, "since": now, "due_at": now + int(due_in_s * 1000), "tries": 0}
        after = replace(attempt, **(fresh | changes))
        self.work.save_attempt(attempt, after)
        if state in WATCHED:
            self.bench.age_s(after)
        return after

    def keep(self, attempt: AttemptRow, *, due_in_s: float, **changes: Any) -> AttemptRow:
        """Leave an attempt where it is, due later."""
        now = self.bench.now()
        # An entry that lies in the future was made before the clock was set back.
        changes = {"since": min(attempt.since, now), "due_at": now + int(due_in_s * 1000)} | changes
        after = replace(attempt, **changes)
        self.work.save_attempt(attempt, after)
        return after


def backoff_s(tries: int, hint_s: float | None = None) -> float:
    """How long a step that failed `tries` times in a row rests: 1, 2, 4 … seconds, at most 30 minutes.

    The provider's own wish is kept even where it is longer, up to a day.
    """
    return max(min(1800.0, 2.0 ** min(tries, 11)), min(hint_s or 0.0, 86_400.0))


def stop_if_account_is_refused(error: NonoError) -> None:
    """No other shard will fare better with this key or this account's money."""
    if isinstance(error, KeyRefused):
        raise RunStops("key_refused", error.message) from error
    if isinstance(error, OutOfQuota):
        raise RunStops("out_of_quota", error.message) from error


def nobody_is_there(bench: Bench, error: NonoError, tries: int) -> bool:
    """An outage is waited out; an address where nobody has answered yet, after some tries, is likely a wrong one."""
    return isinstance(error, NotSent) and not bench.reached and tries >= TRIES_UNREACHED


def unreached(error: NonoError) -> RunStops:
    """The stop for an address where nobody is; which address that is, the error's hint says."""
    return RunStops("unavailable", f"{error.message}; {error.hint}" if error.hint else error.message)


def postpone(bench: Bench, attempt: AttemptRow, step: str, error: NonoError) -> AttemptRow:
    """Note a passing trouble and try the step again later; stop the run where nobody is there."""
    stop_if_account_is_refused(error)
    if nobody_is_there(bench, error, attempt.tries):
        raise unreached(error) from error
    wait_s = backoff_s(attempt.tries, getattr(error, "retry_after_s", None))
    with bench.commit() as commit:
        after = commit.keep(attempt, due_in_s=wait_s, tries=attempt.tries + 1)
        commit.event(Happened.TROUBLE, attempt, step=step, error=error.message, wait_s=wait_s)
    return after
