"""The world that misbehaves: the rules, applied where the server asks, and the log of what happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from nono.server.clock import Clock, SteeredClock
from nono.server.dialect import Answer, Ask, Checked
from nono.server.faults import views
from nono.server.faults.calls import Named
from nono.server.faults.exchange import Change
from nono.server.faults.fates import Fate, Occasion
from nono.server.faults.lines import Lines
from nono.server.faults.log import NAME, Log
from nono.server.faults.rules import Counted, Rule
from nono.server.records import Batch
from nono.server.store import Store
from nono.server.weather import FAIR_END, End

_NO_FATE = Fate()


class _Request(msgspec.Struct, gc=False):
    """What a request line has at its top, without looking into the body."""

    custom_id: Any = None
    key: Any = None
    body: msgspec.Raw = msgspec.Raw(b"")
    request: msgspec.Raw = msgspec.Raw(b"")


_read_request = msgspec.json.Decoder(_Request).decode


def _id_and_digest(line: bytes) -> tuple[Any, str]:
    """A request's id, and a digest of its body, which is the same under any id."""
    read = _read_request(line)
    body = bytes(read.body) or bytes(read.request) or line
    return read.custom_id if read.custom_id is not None else read.key, blake2b(body, digest_size=12).hexdigest()


class World:
    """The `Weather` that rules make. Threads share one."""

    def __init__(self, rules: list[Rule], store: Store) -> None:
        self.counted = Counted(rules)
        self.clock: Clock = store.clock
        self.store = store
        self.log = Log(store.folder / NAME, store.clock)
        if isinstance(store.clock, SteeredClock):  # it may have been ahead of the machine's when the server stopped
            store.clock.not_before(self.log.last_ns)
        store.on_move = self.moved
        self.log.write("started", faults=[rule.fault.name for rule in rules])
        self._fates: dict[tuple[str, str], Fate] = {}
        self._lock = threading.Lock()
        # Held while a fate is decided, and never by who has the records open: deciding reads them.
        self._deciding = threading.Lock()

    def close(self) -> None:
        self.log.close()

    def add(self, rules: list[Rule]) -> None:
        self.counted.add(rules)
        self.log.write("rules", faults=[rule.fault.name for rule in rules])

    # calls

    def act_for(self, provider: str, call: Named) -> Rule | None:
        """The rule that this call falls to; the first of several."""
        for rule in self._rules(provider, lambda rule: rule.fault.act is not None and call.name in rule.calls):
            number = self.counted.next(rule)
            if self.counted.fires(rule, number, str(number)):
                return rule
        return None

    def changes_for(self, provider: str, call: Named) -> tuple[Change, ...]:
        """What the reply to a call has to pass, where rules change what it shows."""
        rules = self._rules(provider, lambda rule: rule.fault.view is not None and call.name in rule.calls)
        if not rules:
            return ()

        def fires(batch: Batch) -> list[Rule]:
            return [rule for rule in rules if self.counted.fires(rule, batch.seq, f"batch {batch.seq}")]

        def change(value: dict[str, Any]) -> dict[str, Any] | None:
            return views.seen(value, provider=provider, store=self.store, clock=self.clock, fires=fires)

        return (change,)

    # batches (see `nono.server.weather`)

    def checked(self, batch: Batch, lines: Path, found: Checked) -> Checked:
        if found.errors is not None:
            return found
        errors = self._fate(batch, Occasion(batch, lines, found.total, self.store)).errors
        return found if errors is None else Checked(found.total, found.model, errors)

    def held_until_ns(self, batch: Batch) -> int | None:
        return self._fate(batch).held_ns

    def end(self, batch: Batch) -> End:
        return self._fate(batch).end or FAIR_END

    def asking(self, batch: Batch, ordinal: int, line: bytes, ask: Ask) -> Ask:
        for rule in self._rules(batch.protocol, lambda rule: rule.fault.row is not None):
            _, digest = _id_and_digest(line)
            per = digest if rule.times is not None else None
            if rule.fault.row and self.counted.fires(rule, ordinal + 1, digest, per=per):
                answer = rule.fault.row(rule)
                return lambda endpoint, body: answer
        return ask

    def answered(self, batch: Batch, ordinal: int, line: bytes, answer: Answer) -> None:
        (request_id, digest), usage = _id_and_digest(line), answer.usage
        self.log.write(
            "executed",
            provider=batch.protocol,
            batch=batch.id,
            ordinal=ordinal,
            id=request_id,
            digest=digest,
            ok=answer.ok,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )

    def answer_lines(self, batch: Batch, lines: Lines) -> Lines:
        # The answers of Gemini's inline batches stand in a reply that has to stay JSON.
        in_reply = batch.protocol == "gemini" and batch.input_file_id is None
        spoiling = self._rules(
            batch.protocol,
            lambda rule: rule.fault.line is not None and not (in_reply and rule.fault.breaks_json),
        )
        lines = self._spoiled(batch, lines, spoiling)
        for rule in self._rules(batch.protocol, lambda rule: rule.fault.order is not None):
            if rule.fault.order and self.counted.fires(rule, batch.seq, f"batch {batch.seq}"):
                lines = rule.fault.order(rule, lines, str(batch.seq))
        return lines

    def moved(self, batch: Batch) -> None:
        files = {role: file_id.rpartition("/")[2] for role, file_id in batch.outputs.items()}
        told = batch.details
        self.log.write(
            "moved",
            provider=batch.protocol,
            batch=batch.id,
            tag=(told.get("metadata") or {}).get("nono_tag") or told.get("display_name") or told.get("displayName"),
            file=batch.input_file_id,
            state=batch.state,
            total=batch.counts.total,
            ok=batch.counts.ok,
            failed=batch.counts.failed,
            outputs=files,
        )
        if batch.state.ended:
            with self._lock:
                self._fates.pop((batch.protocol, batch.id), None)

    def _spoiled(self, batch: Batch, lines: Lines, rules: list[Rule]) -> Lines:
        for ordinal, (kind, line) in enumerate(lines):
            touched = next((rule for rule in rules if self._touches(rule, batch, ordinal)), None)
            if touched is None or touched.fault.line is None:
                yield kind, line
                continue
            self.log.write(
                "spoiled",
                provider=batch.protocol,
                batch=batch.id,
                ordinal=ordinal,
                fault=touched.fault.name,
                readable=touched.fault.readable,
            )
            for one in touched.fault.line(touched, line.rstrip(b"\n"), touched.draw(f"at {batch.seq}:{ordinal}")):
                yield kind, one + b"\n"

    def _touches(self, rule: Rule, batch: Batch, ordinal: int) -> bool:
        return self.counted.fires(rule, ordinal + 1, f"{batch.seq}:{ordinal}")

    def _fate(self, batch: Batch, occasion: Occasion | None = None) -> Fate:
        """Decided once for each batch, when it is first asked about."""
        key = batch.protocol, batch.id
        with self._deciding:
            with self._lock:
                fate = self._fates.get(key)
            if fate is None:
                lines = self.store.work_folder(batch) / "input.jsonl"
                fate = self._decide(batch, occasion or Occasion(batch, lines, batch.counts.total, self.store))
                with self._lock:
                    self._fates[key] = fate
            return fate

    def _decide(self, batch: Batch, occasion: Occasion) -> Fate:
        for rule in self._rules(batch.protocol, lambda rule: rule.fault.fate is not None):
            number = self.counted.next(rule)
            if rule.fault.fate is None or not rule.chooses(number, f"batch {batch.seq}"):
                continue
            fate = rule.fault.fate(rule, occasion)
            if fate is not None and self.counted.fires(rule, number, f"batch {batch.seq}"):
                self.log.write("fate", provider=batch.protocol, batch=batch.id, fault=rule.fault.name)
                return fate
        return _NO_FATE

    def _rules(self, provider: str, wanted: Callable[[Rule], bool]) -> list[Rule]:
        return [rule for rule in self.counted.rules if rule.provider in (None, provider) and wanted(rule)]
