"""Measures jobs: every way in a process of its own, the ways in turns, so that no way has the machine's good moment.

    python -m benchmarks.measuring MODULE JOB WAY FOLDER SIZE [URL]

does one way and prints what it measured. Memory is the peak of the process and its children together; what several of
them share counts once. A server has its own figure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path

from benchmarks.job import Job, Measured, Stage
from nono.server.app import LocalServer

LOOK_EVERY_S = 0.05
# What processes share is added up page by page, which holds them up.
LOOK_AT_MANY_EVERY_S = 0.25
ROOT = Path(__file__).parent.parent
# A proxy between processes of one machine would be measured as well, and so would compiling modules that are compiled
# when a package is installed.
_DISTURBS = re.compile("PROXY|DONTWRITEBYTECODE|OPENAI|GEMINI|GOOGLE|NONO", re.IGNORECASE)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not _DISTURBS.search(name)} | {
    "NO_PROXY": "127.0.0.1,localhost",
    "OPENAI_API_KEY": "local",
    "GEMINI_API_KEY": "local",
    "PYTHONPATH": str(ROOT),
}


def measure_all(
    jobs: Mapping[str, Sequence[Job]],
    scale: float,
    tell: Callable[[str], object],
    *,
    most_repeats: int = 100,
    apart: bool = True,
) -> dict[str, dict[str, list[Measured]]]:
    """Measure the jobs of some modules (by module); returns what was found, by job and way.

    Without `apart` everything happens in this process: quicker, and good for nothing but to see that it runs.
    """
    found: dict[str, dict[str, list[Measured]]] = {}
    for module, ones in jobs.items():
        for job, folder in _prepared(ones, scale, tell):
            tell(job.name)
            found[job.name] = {way.name: [] for way in job.ways}
            for _ in range(min(most_repeats, job.repeats)):
                for way in job.ways:
                    order = _Order(module, job.name, way.name, folder, job.scaled(scale, way))
                    one = (_apart if apart else _here)(order, with_server=job.server)
                    found[job.name][way.name].append(one)
                    tell(f"    {way.name}: {one.seconds:.3f} s, {one.peak_mb:.0f} MB {one.notes or ''}")
    return found


@dataclass(frozen=True, slots=True)
class _Order:
    """One way of one job, to be done in a folder; all of it fits on a command line."""

    module: str
    job: str
    way: str
    folder: Path
    size: int
    server_url: str | None = None

    def do(self) -> Measured:
        jobs: Sequence[Job] = import_module(self.module).JOBS
        way = next(way for job in jobs if job.name == self.job for way in job.ways if way.name == self.way)
        stage, whole = (Stage(self.folder, self.size, self.server_url) for _ in range(2))
        with whole.timed():
            way.do(stage)
        timed = whole if stage.seconds is None else stage
        assert timed.seconds is not None
        return Measured(timed.seconds, timed.cpu_s, high_water_mb("self"), stage.notes)


def _prepared(jobs: Sequence[Job], scale: float, tell: Callable[[str], object]) -> Iterator[tuple[Job, Path]]:
    """Each job with the folder that was prepared for it; a folder is removed when the next one is needed."""
    left = list(jobs)
    while left:
        first = left[0]
        key = (first.prepare, first.scaled(scale))
        same = [job for job in left if (job.prepare, job.scaled(scale)) == key]
        left = [job for job in left if job not in same]
        with tempfile.TemporaryDirectory(prefix="nono-bench-") as name:
            if first.prepare is not None:
                tell(f"preparing {key[1]:,} {first.unit}")
                first.prepare(Path(name), key[1])
            for job in same:
                yield job, Path(name)


def _apart(order: _Order, *, with_server: bool) -> Measured:
    if not with_server:
        return _run_child(order)
    with tempfile.TemporaryDirectory(prefix="nono-bench-server-") as data, _server(Path(data)) as (url, pid):
        before_s = _cpu_s(pid)
        measured = _run_child(replace(order, server_url=url))
        measured.notes["server_mb"] = high_water_mb(pid)
        measured.notes["server_cpu_s"] = _cpu_s(pid) - before_s
        return measured


def _here(order: _Order, *, with_server: bool) -> Measured:
    if not with_server:
        return order.do()
    with LocalServer() as server:
        measured = replace(order, server_url=server.url).do()
        measured.notes["server_mb"] = high_water_mb("self")
        return measured


def _run_child(order: _Order) -> Measured:
    given = [order.module, order.job, order.way, str(order.folder), str(order.size)]
    command = [sys.executable, "-m", "benchmarks.measuring", *given, *([order.server_url] if order.server_url else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as child:
        tree = _Tree(child.pid)
        assert child.stdout is not None
        said = child.stdout.read()
        peak_mb = tree.stop()
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    measured = Measured(**json.loads(said.splitlines()[-1]))
    return replace(measured, peak_mb=max(measured.peak_mb, peak_mb))


class _Tree:
    """Looks at the memory of a process and its children, from a thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._peak_mb = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak_mb

    def _look(self) -> None:
        alone = True
        while not self._over.wait(LOOK_EVERY_S if alone else LOOK_AT_MANY_EVERY_S):
            processes = _descendants(self._pid)
            alone = len(processes) == 1
            measure = _resident_mb if alone else _share_mb
            self._peak_mb = max(self._peak_mb, sum(map(measure, processes)))


def _descendants(pid: int) -> list[int]:
    children: list[str] = []
    with suppress(OSError):  # it has ended, or there is no /proc
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += (thread / "children").read_text().split()
    return [pid, *(one for child in children for one in _descendants(int(child)))]


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _share_mb(pid: int) -> float:
    """Memory of a process, of what it shares with n processes an n-th part (PSS)."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return _resident_mb(pid)
    return int(found[1]) / 1024 if found else 0.0


def _cpu_s(pid: int) -> float:
    """Processor seconds of another process."""
    stat = Path(f"/proc/{pid}/stat")
    fields = stat.read_text().rpartition(")")[2].split() if stat.exists() else ["0"] * 13
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def high_water_mb(pid: int | str) -> float:
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def _server(data: Path) -> Iterator[tuple[str, int]]:
    """`nono serve` with the simulated model, on a free port: its URL and process."""
    command = [sys.executable, "-m", "nono.cli", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as server:
        try:
            assert server.stdout is not None
            url = re.search(r"http://[\d.:]+", server.stdout.readline())
            if url is None:
                raise SystemExit(f"{' '.join(command)} did not start")
            yield url[0], server.pid
        finally:
            server.terminate()


def main(module: str, job: str, way: str, folder: str, size: str, url: str | None = None) -> None:
    print(json.dumps(asdict(_Order(module, job, way, Path(folder), int(size), url).do())))


if __name__ == "__main__":
    main(*sys.argv[1:])
