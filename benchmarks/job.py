"""A job as benchmarks know it: the same work done in several ways, and what nono's way should reach.

Every way of a job runs in a process of its own (`measuring`). A way is handed a `Stage`; what it times is what
stands in `with stage.timed()`, or all of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from nono.server.app import environment

REVIEWS = Path(__file__).parent / "amazon_review_snippets.csv"
OURS = "nono"


@dataclass(frozen=True, slots=True)
class Measured:
    """One execution of one way: seconds by the clock and of the processors, peak memory, and what else it noted."""

    seconds: float
    cpu_s: float
    peak_mb: float
    notes: dict[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        return float(getattr(self, name)) if name in _FIGURES else self.notes[name]


_FIGURES = frozenset({"seconds", "cpu_s", "peak_mb"})
Found = Mapping[str, Sequence[Measured]]
"""What was measured, by the way's name."""


def median(found: Found, way: str, figure: str = "seconds") -> float:
    return statistics.median(one.value(figure) for one in found[way])


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a number made of what was found. `unit` follows the number; `×` is a ratio."""

    what: str
    of: Callable[[Found], float]
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def faster_than(way: str, least: float, *, figure: str = "seconds", words: str = "times as fast as") -> Goal:
    """nono should need at most 1/`least` of what another way needs."""
    return Goal(
        f"{words} {way}", lambda found: median(found, way, figure) / median(found, OURS, figure), least=least, unit=" ×"
    )


def at_most(figure: str, most: float, what: str, unit: str = "", way: str = OURS) -> Goal:
    return Goal(what, lambda found: median(found, way, figure), most=most, unit=unit)


class Stage:
    """Where a way does its work: a folder with what was prepared, how much is to be done, and a server's URL."""

    def __init__(self, folder: Path, size: int, server_url: str | None = None) -> None:
        self.folder = folder
        self.size = size
        self.server_url = server_url
        self.notes: dict[str, float] = {}
        self.seconds: float | None = None
        self.cpu_s = 0.0

    @property
    def openai_base_url(self) -> str:
        assert self.server_url is not None
        return environment(self.server_url, "local")["OPENAI_BASE_URL"]

    @property
    def gemini_base_url(self) -> str:
        assert self.server_url is not None
        return environment(self.server_url, "local")["GOOGLE_GEMINI_BASE_URL"]

    @contextmanager
    def timed(self) -> Iterator[None]:
        """What counts; may be entered several times."""
        began_s, began_cpu_s = time.perf_counter(), _cpu_s()
        yield
        self.seconds = (self.seconds or 0.0) + time.perf_counter() - began_s
        self.cpu_s += _cpu_s() - began_cpu_s


def _cpu_s() -> float:
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do a job. `size` where it is not the job's."""

    name: str
    do: Callable[[Stage], object]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The same work in several ways, nono's first.

    `size` is how much of `unit` there is in full. `prepare` fills the folder that all ways find; jobs with the same one
    share it. With `server`, every execution has a local batch server of its own, in another process.
    """

    name: str
    ways: tuple[Way, ...]
    size: int
    unit: str
    goals: tuple[Goal, ...]
    says: str
    prepare: Callable[[Path, int], None] | None = None
    repeats: int = 3
    server: bool = False
    # The fewest of `unit` that still make sense when everything is scaled down.
    least: int = 1
    # Shown beside time and memory: the names of notes, with their titles.
    columns: Mapping[str, str] = field(default_factory=dict)

    def scaled(self, scale: float, way: Way | None = None) -> int:
        full = self.size if way is None or way.size is None else way.size
        return max(self.least, round(full * scale)) if scale < 1 else full
