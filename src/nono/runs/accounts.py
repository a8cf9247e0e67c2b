"""Whose run it is: another key goes on with a run where it sees what the run has at the provider, and nowhere else.

In another account a batch whose create had no answer would be looked for in vain, and be made and paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nono.errors import Forbidden, NotFound, SettingsError
from nono.exchange import Account
from nono.runs.bench import Bench, run_prefix
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.ledger.states import IN_FLIGHT

# What of a run is at the provider and has yet to come from there.
AWAITED = IN_FLIGHT | {AttemptState.ENDED}
# One thing of the run that is seen proves it, for all of them are in one account: so many files are looked for.
MOST_FILES = 5


def check_account(bench: Bench, account: Account) -> None:
    """Let the run have the account's key from now on, if it is not another account's.

    Raises SettingsError where the key does not see what the run awaits, or where the address is another one.
    """
    theirs = account.fingerprint()
    if theirs == bench.run.account:
        return
    awaited = [attempt for attempt in bench.ledger.attempts(bench.run.id) if attempt.state in AWAITED]
    # An account with a scope (a project) is that, whatever the key.
    elsewhere = bool(account.scope) or _address(theirs) != _address(bench.run.account)
    if elsewhere or (awaited and not _is_seen(bench, awaited)):
        raise SettingsError(
            f"run {bench.run.id} belongs to another account ({bench.run.account} is not {theirs})",
            hint="use a key of the account that it was started with: another account does not see its batches; "
            "`nono run --new` begins the same work anew, and it is paid again",
        )
    with bench.commit() as commit:
        commit.work.set_account(bench.run.id, theirs)
        commit.event(Happened.KEY_CHANGED, before=bench.run.account, after=theirs)
    bench.run = replace(bench.run, account=theirs)


def _address(fingerprint: str) -> str:
    return fingerprint.partition("#")[0]


def _is_seen(bench: Bench, awaited: Sequence[AttemptRow]) -> bool:
    """Whether the lists of the account, in which lost batches are looked for, show something of the run's."""
    try:
        return _has_batch(bench, {attempt.batch_id for attempt in awaited}) or _has_file(bench, awaited)
    except (NotFound, Forbidden):
        return False


def _has_batch(bench: Bench, ids: set[str | None]) -> bool:
    ours = run_prefix(bench.run.id)
    return any(batch.id in ids or (batch.tag or "").startswith(ours) for page in bench.batch_pages() for batch in page)


def _has_file(bench: Bench, awaited: Sequence[AttemptRow]) -> bool:
    names = (bench.file_name(attempt, bench.shard(attempt)) for attempt in awaited[-MOST_FILES:])
    return any(bench.perform(bench.provider.find_file(name)) is not None for name in names)
