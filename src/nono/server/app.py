"""The local batch server: one ASGI app that speaks both protocols, and the ways to run it.

    with LocalServer() as server:                          # in this process, on a free port
        client = OpenAI(base_url=server.openai_base_url, api_key="local")

OpenAI's calls are under `/v1`, Gemini's under `/gemini` (both providers have a `/v1/files`). A Gemini client that was
given the plain address is understood as well: by its version (`/v1beta`), its key header, or its upload paths.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starlette.applications import Starlette
from starlette.types import ASGIApp

from nono.errors import SettingsError
from nono.secret import Secret
from nono.server.clock import Clock, SteeredClock, SystemClock
from nono.server.dialect import Dialect, Door
from nono.server.doors import Switchboard, door_app
from nono.server.guard import LOOPBACK_HOSTS, gate_for
from nono.server.listening import listen, url_of, uvicorn_of
from nono.server.models import Model
from nono.server.roster import Roster, open_roster
from nono.server.store import Store
from nono.server.weather import FAIR
from nono.server.work import Work

if TYPE_CHECKING:
    from nono.server.faults.world import World

DEFAULT_DATA = Path(".nono-server")
DEFAULT_PORT = 8765
GEMINI_PREFIX = "/gemini"

# In the order in which they are asked whether a call is theirs; the last takes what nobody claims.
DIALECTS: tuple[tuple[str, str], ...] = (
    ("nono.server.vertex", "Vertex"),
    ("nono.server.gemini", "Gemini"),
    ("nono.server.openai", "OpenAI"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is set up. `model` and `embedding_model` are names (see `nono.server.roster`) or models.

    `key`: when set, calls without it are refused; otherwise any key, or none, will do. `hosts` are further names under
    which it is served. `calls` is how many calls are worked on at a time. `faults`: rules by which it misbehaves (see
    `nono.server.faults.rules.read_rules`); an empty list only opens `/_nono/`, which steers all this over HTTP.
    """

    data: Path = DEFAULT_DATA
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    model: str | Model = "simulated"
    embedding_model: str | Model | None = None
    key: Secret | None = None
    hosts: tuple[str, ...] = ()
    calls: int = 256
    clock: Clock = field(default_factory=SystemClock)
    faults: Any = None


@dataclass(frozen=True, slots=True)
class Core:
    """What the dialects share."""

    clock: Clock
    store: Store
    roster: Roster
    work: Work


def create_app(settings: Settings) -> Starlette:
    """The server as an ASGI app; files, models and running batches open with its lifespan.

    Raises SettingsError for a folder that another server uses, a model that is not there, or faults that make no sense.
    """
    with contextlib.ExitStack() as opened:
        roster = open_roster(settings.model, settings.embedding_model)
        opened.callback(roster.close)
        store = Store(settings.data, settings.clock)
        opened.callback(store.close)
        world = None if settings.faults is None else _open_world(settings.faults, store)
        opened.pop_all()
    dialects: dict[str, Dialect] = {}
    work = Work(store, dialects, world or FAIR)
    core = Core(settings.clock, store, roster, work)
    for module, name in DIALECTS:
        dialect: Dialect = getattr(import_module(module), name)(core)
        dialects[dialect.name] = dialect
    gate = gate_for(settings.host, also=settings.hosts, key=settings.key, calls=settings.calls)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            work.start()
            yield
        finally:
            work.stop()
            roster.close()
            store.close()
            if world is not None:
                world.close()

    app = Starlette(lifespan=lifespan)
    app.state.core = core
    doors: list[tuple[Door, ASGIApp]] = [(dialect, door_app(dialect, gate)) for dialect in dialects.values()]
    if world is not None:
        from nono.server.faults.control import Control
        from nono.server.faults.layer import Misbehaviour

        control = Control(world)
        doors = [
            (control, door_app(control, gate)),
            *((door, Misbehaviour(behaved, door, world)) for door, behaved in doors),
        ]
    app.mount("/", Switchboard(doors))
    return app


def _open_world(faults: Any, store: Store) -> World:
    # A server that behaves need not know how not to.
    from nono.server.faults.rules import read_rules
    from nono.server.faults.world import World

    return World(read_rules(faults), store)


def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Run a server until SIGINT or SIGTERM; `on_ready` is told its URL when it accepts calls.

    Raises SettingsError if the address is taken or the settings do not fit together.
    """
    listener = listen(settings.host, settings.port)
    server = uvicorn_of(create_app(settings), on_ready and (lambda: on_ready(url_of(listener))))
    server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("the server did not start; what it met is above")


class LocalServer:
    """A server in a background thread of this process, on a free port; a context manager.

    Without `data` its files live in a temporary folder that goes with it. Several may run at a time. With `faults` it
    misbehaves as they say, and its clock can be steered.
    """

    def __init__(
        self,
        model: str | Model = "simulated",
        *,
        data: str | os.PathLike[str] | None = None,
        embedding_model: str | Model | None = None,
        api_key: str | None = None,
        port: int = 0,
        clock: Clock | None = None,
        calls: int = 256,
        faults: Any = None,
    ) -> None:
        self._temporary = None if data else tempfile.TemporaryDirectory(prefix="nono-server-")
        self.data = Path(data or (self._temporary.name if self._temporary else ""))
        self.settings = Settings(
            data=self.data,
            port=port,
            model=model,
            embedding_model=embedding_model,
            key=Secret(api_key) if api_key else None,
            clock=clock or clock_for(faults),
            calls=calls,
            faults=faults,
        )
        self._listener = listen(self.settings.host, port)
        try:
            self.app = create_app(self.settings)
        except BaseException:
            self._listener.close()
            raise
        self.url = url_of(self._listener)
        self._ready = threading.Event()
        self._server = uvicorn_of(self.app, self._ready.set)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="nono-server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            raise SettingsError(f"the local server did not start: {self._error or 'see the log'}") from self._error

    @property
    def openai_base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def gemini_base_url(self) -> str:
        return f"{self.url}{GEMINI_PREFIX}"

    @property
    def core(self) -> Core:
        core: Core = self.app.state.core
        return core

    def environment(self) -> dict[str, str]:
        """The variables that make the official SDKs, and nono, talk to this server."""
        return environment(self.url, self.settings.key.reveal() if self.settings.key else "local")

    def stop(self) -> None:
        """Stop the server; unfinished batches go on when a server is started on the same folder. May be repeated."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()


def clock_for(faults: Any, speed: float | None = None) -> Clock:
    """A clock that can be steered, where somebody may want to; otherwise the machine's."""
    return SystemClock() if faults is None and speed is None else SteeredClock(speed=1.0 if speed is None else speed)


def environment(url: str, key: str) -> dict[str, str]:
    """The variables that make clients talk to a server at `url`."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "GOOGLE_GEMINI_BASE_URL": f"{url}{GEMINI_PREFIX}",
        "GEMINI_API_KEY": key,
    }


def check_exposure(settings: Settings) -> str | None:
    """A warning, if others can reach the server and no key keeps them out."""
    if settings.host in LOOPBACK_HOSTS or settings.key is not None:
        return None
    return f"listening on {settings.host} without a key: everybody who can reach this machine can use it (--api-key)"
