"""Ask requests without a batch: at the synchronous endpoint, several at a time, at its price.

Each request has its intent on disk before it leaves (`nono.runs.asked`), because a POST whose answer is lost cannot be
repeated without paying twice. A refusal that certainly had no effect is sent again, as often as MOST_REFUSALS says;
everything else that is not an answer is a lost one, and a person decides about it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from nono.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    NonoError,
    NotFound,
    NotSent,
    OutOfQuota,
    ProviderError,
)
from nono.jsonl import decode, split_lines
from nono.runs.admission import over_budget
from nono.runs.asked import SYNC_ANSWERS, Journal, Word
from nono.runs.bench import Bench, RunStops, backoff_s, postpone, stop_if_account_is_refused
from nono.runs.crew import Crew
from nono.runs.events import Happened
from nono.runs.joining import IdReader
from nono.runs.ledger import AttemptRow, AttemptState, ShardRow

# A step asks for about so long; then the engine looks at what else there is to do.
SLICE_S = 10.0
# So often a request is refused without effect (429, 5xx) before that is what its row ends with.
MOST_REFUSALS = 8
# What the request is, not how the provider feels: the row ends so.
PERMANENT = (InvalidRequest, NotFound, Forbidden)
# No other request will fare better: the run stops.
OF_THE_ACCOUNT = (KeyRefused, OutOfQuota)


def ask(bench: Bench, attempt: AttemptRow) -> None:
    """asking → asked, when every request of the attempt has an answer, a reason or a lost one; else a stretch of it."""
    if over_budget(bench, 0.0):
        raise RunStops("budget", "what is asked without a batch would pass --max-cost", hint="raise it: nono resume")
    shard = bench.shard(attempt)
    with journal(bench, attempt, shard) as kept:
        stretch = _Stretch(bench, attempt, shard, kept)
        stretch.work()
        left = stretch.left()
        answered, lost = kept.answered, kept.lost
    if left:
        _later(bench, attempt, stretch, answered)
        return
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.ASKED, done_requests=answered, ended_at=bench.now())
        commit.event(Happened.ASKED, attempt, answered=answered, lost=lost)


def give_up(bench: Bench, attempt: AttemptRow) -> None:
    """asking → asked, with what was asked until now: the run is being cancelled."""
    with journal(bench, attempt, bench.shard(attempt)) as kept, bench.commit() as commit:
        commit.move(attempt, AttemptState.ASKED, done_requests=kept.answered, ended_at=bench.now())
        commit.event(Happened.ASKED, attempt, answered=kept.answered, lost=kept.lost)


def journal(bench: Bench, attempt: AttemptRow, shard: ShardRow) -> Journal:
    name = bench.file_name(attempt, shard)
    reader = IdReader(bench.provider.id_key, bench.provider.id_mark)
    return Journal(bench.folder.asked(name), bench.folder.answers(name) / SYNC_ANSWERS, reader)


def _later(bench: Bench, attempt: AttemptRow, stretch: _Stretch, answered: int) -> None:
    trouble = stretch.trouble
    if isinstance(trouble, NotSent):
        postpone(bench, attempt, "ask", trouble)
        return
    wait_s = 0.0 if trouble is None else backoff_s(attempt.tries, getattr(trouble, "retry_after_s", None))
    with bench.commit() as commit:
        tries = attempt.tries + 1 if trouble is not None else 0
        commit.keep(attempt, due_in_s=wait_s, tries=tries, done_requests=answered)
        if trouble is not None:
            commit.event(Happened.TROUBLE, attempt, step="ask", error=trouble.message, wait_s=wait_s)
    if trouble is not None:
        stop_if_account_is_refused(trouble)


class _Stretch:
    """Some seconds of asking: several requests at a time, until one is refused, the time is over, or none is left."""

    def __init__(self, bench: Bench, attempt: AttemptRow, shard: ShardRow, kept: Journal) -> None:
        self._bench = bench
        self._kept = kept
        self._path = bench.folder.shard_file(shard.no)
        self._reader = IdReader(bench.provider.id_key, bench.provider.id_mark)
        self._lock = threading.Lock()
        self._ends_at_s = bench.clock.elapsed_s() + SLICE_S
        # After a refusal fewer at a time, until a stretch passes without one.
        wish = bench.settings.finish_sync
        self._calls = max(1, (wish.calls if wish else 1) >> attempt.tries)
        # Why the stretch ended early.
        self.trouble: NonoError | None = None
        self._failure: BaseException | None = None

    def work(self) -> None:
        lines = self._waiting()
        if self._calls == 1 or self._bench.settings.workers == 0:
            self._ask_all(lines)
            return
        crew = Crew(self._calls, f"nono-{self._bench.run.id}-asks")
        for _ in range(self._calls):
            crew.do(lambda: self._take(lines))
        crew.end()
        if self._failure is not None:
            raise self._failure

    def _take(self, lines: Iterator[tuple[str, bytes]]) -> None:
        try:
            self._ask_all(lines)
        except BaseException as failure:
            self._failure = self._failure or failure

    def left(self) -> bool:
        return next(self._waiting(), None) is not None

    def _waiting(self) -> Iterator[tuple[str, bytes]]:
        """The request lines that may be sent, with their ids."""
        with self._path.open("rb") as file:
            for line in split_lines(file):
                custom_id = self._reader.read(line)
                if custom_id is not None and self._kept.may_be_sent(custom_id):
                    yield custom_id, line

    def _goes_on(self) -> bool:
        bench, quiet = self._bench, self.trouble is None and self._failure is None
        return quiet and not bench.leaving.is_set() and bench.clock.elapsed_s() < self._ends_at_s

    def _ask_all(self, lines: Iterator[tuple[str, bytes]]) -> None:
        while self._goes_on():
            with self._lock:
                found = next(lines, None)
            if found is None:
                return
            self._ask(*found)

    def _ask(self, custom_id: str, line: bytes) -> None:
        bench, kept = self._bench, self._kept
        request: dict[str, Any] = decode(line)
        kept.say(line, Word.SENT)
        try:
            answer = bench.perform(bench.provider.ask(request, bench.task))
        except NonoError as error:
            if not _had_no_effect(error):
                return  # lost: the word stands in the journal, without an answer
            if isinstance(error, ProviderError) and self._is_final(error, custom_id):
                kept.answer(bench.provider.refusal_line(request, error))
            else:
                kept.say(line, Word.REFUSED)
                self.trouble = error
        else:
            kept.answer(answer)

    def _is_final(self, error: ProviderError, custom_id: str) -> bool:
        refused_often = self._kept.refusals(custom_id) + 1 >= MOST_REFUSALS
        return isinstance(error, PERMANENT) or (refused_often and not isinstance(error, OF_THE_ACCOUNT))


def _had_no_effect(error: NonoError) -> bool:
    """It never left, or the API itself, in its own words, refused it: no service bills an error.

    A proxy's page may hide an answer, and a conflict (409) does not say what became of the request.
    """
    in_its_words = isinstance(error, ProviderError) and isinstance(error.body, dict) and not isinstance(error, Conflict)
    return isinstance(error, NotSent) or in_its_words
