"""A run while this process works on it: ownership, connections, the engine, and the thread that it runs in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from nono.exchange import Send
from nono.runs.accounts import check_account
from nono.runs.bench import Bench, Settings
from nono.runs.clock import Clock
from nono.runs.cost import check_budget, price_of
from nono.runs.engine import Engine
from nono.runs.events import Event
from nono.runs.ledger import RunRow
from nono.runs.owner import Ownership
from nono.runs.spec import RunSpec, load_plan, load_spec
from nono.runs.workspace import Workspace

# How often a person is shown how the run stands.
LOOK_EVERY_S = 0.5


@contextmanager
def at_work(
    workspace: Workspace,
    run: RunRow,
    *,
    api_key: str | None,
    send: Send | None,
    clock: Clock,
    settings: Settings | None,
    tell: Callable[[Event], object],
) -> Iterator[Engine]:
    """The engine of a run, as long as this process owns it; everything is given back at the end.

    `settings` take the place of the run's own, now and at its next resumption. Raises RunOwned if another process works
    on the run, SettingsError for an account that does not see its batches.
    """
    from nono.transport import Sender

    folder = workspace.folder(run.id)
    spec = load_spec(folder)
    provider = spec.provider_there()
    account = provider.account(api_key=api_key, base_url=spec.base_url)
    with ExitStack() as held:
        ownership = held.enter_context(Ownership(workspace.ledger, run, folder.path, clock))
        if send is None:
            send = sender = Sender(account)
            held.callback(sender.close)
        if settings is not None and settings != spec.settings:
            check_budget(settings.max_cost_usd, provider, spec.task.model)
            spec = _change_settings(workspace, run.id, ownership.epoch, spec, settings)
        owned = workspace.ledger.run(run.id)
        assert owned is not None
        bench = Bench(
            ledger=workspace.ledger,
            run=replace(owned, epoch=ownership.epoch),
            provider=provider,
            task=spec.task,
            send=send,
            clock=clock,
            folder=folder,
            settings=spec.settings,
            plan=load_plan(folder),
            price=price_of(provider, spec.task.model)[0],
            full_price=price_of(provider, spec.task.model, batch=False)[0],
            tell=tell,
            adopts=spec.adopts,
        )
        check_account(bench, account)
        yield Engine(bench, ownership)


def _change_settings(workspace: Workspace, run_id: str, epoch: int, spec: RunSpec, settings: Settings) -> RunSpec:
    """Keep new settings with the run, so that its next resumption has them too."""
    changed = replace(spec, settings=settings)
    changed.save(workspace.folder(run_id))
    with workspace.ledger.transaction(run_id=run_id, epoch=epoch) as work:
        work.set_run_limits(run_id, max_cost_usd=settings.max_cost_usd, max_attempts=settings.max_attempts)
    return changed


def carry_on(
    engine: Engine, look: Callable[[], object] | None, *, timeout_s: float | None, until_submitted: bool
) -> None:
    """Let the engine work, in a thread of its own, until it ends, `timeout_s` has passed, or `look` raises.

    Raises what the engine raised. KeyboardInterrupt is raised after the steps that are being taken, a second one at
    once.
    """
    done = threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            engine.work(until_submitted=until_submitted)
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name=f"nono-{engine.bench.run.id}", daemon=True).start()
    left_s = float("inf") if timeout_s is None else timeout_s
    try:
        while not done.wait(min(LOOK_EVERY_S, max(0.0, left_s))):
            left_s -= LOOK_EVERY_S
            if left_s <= 0:
                engine.leave()
                done.wait()
                break
            if look is not None:
                look()
    except BaseException:
        engine.leave()
        done.wait()
        raise
    if failure:
        raise failure[0]
