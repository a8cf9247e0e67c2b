"""The benchmarks run, their page says what was measured, what the engine costs is counted. Nothing here is a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.__main__ import SUBJECTS
from benchmarks.job import Goal, Measured, faster_than
from benchmarks.jobs import engine, transfer
from benchmarks.jobs import server as server_job
from benchmarks.measuring import measure_all
from benchmarks.plot import Bar, draw
from benchmarks.results import number, spread, write

import nono
from benchmarks import readme
from nono.server.app import LocalServer
from patience import PATIENT_S

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of everything, scaled down as far as it goes."""
    into = tmp_path_factory.mktemp("results")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--here", "--repeats", "1", "--into", str(into)],
        cwd=ROOT,
        env=os.environ | {"BENCH_SCALE": "0.0005"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (into / "RESULTS.svg").read_text("utf-8").startswith("<svg ")
    return (into / "RESULTS.md").read_text("utf-8")


def test_every_job_runs_and_stands_on_the_page(page: str) -> None:
    titles = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    assert titles == [
        "Plan CSV",
        "Plan Parquet",
        "Plan CSV of reviews",
        "Plan Parquet of reviews",
        "Settle",
        "Memory of planning",
        "Memory of settling",
        "Whole run",
        "Engine",
        "Ledger",
        "Server: one batch",
        "Upload to OpenAI",
        "Download from OpenAI",
        "Upload to Gemini",
        "Start-up",
    ]


def test_a_scaled_page_says_that_it_is_no_measurement(page: str) -> None:
    assert "**Scaled by 0.0005: this page shows that everything runs, not how fast it is.**" in page


def test_the_readme_boasts_of_no_scaled_figure(page: str) -> None:
    assert readme.paragraph(page) == readme.WITHOUT_FIGURES


def test_the_readme_finds_its_figures_on_a_whole_page(page: str) -> None:
    figures = readme.paragraph(page.replace(readme.SCALED, "**"))
    assert re.search(r"a shard costs [67]\.\d\d calls and \d+\.\d\d commits", figures)
    assert "{" not in figures


def test_the_readme_names_the_figures_of_the_page() -> None:
    text = readme.README.read_text("utf-8")
    assert readme.replace_paragraph(text, readme.PAGE.read_text("utf-8")) == text, "python -m benchmarks.readme"


def test_a_way_is_measured_in_a_process_of_its_own_beside_a_server_of_its_own() -> None:
    (job,) = server_job.JOBS
    small = replace(job, ways=job.ways[:1], goals=())
    module = server_job.__name__
    found = measure_all({module: [small]}, 0.001, lambda _: None, most_repeats=1)
    (measured,) = found["server: one batch"]["nono"]
    assert measured.seconds > 0
    assert 10 < measured.peak_mb < 1000
    assert 10 < measured.notes["server_mb"] < 1000


def test_every_subject_is_a_file_of_jobs() -> None:
    files = {path.stem for path in (ROOT / "benchmarks" / "jobs").glob("*.py")} - {"__init__"}
    assert set(SUBJECTS) == files


# --- what is counted ---


def test_a_shard_costs_six_calls_and_at_most_twelve_commits_and_a_poll_of_a_hundred_batches_one_call(
    server: LocalServer, tmp_path: Path
) -> None:
    shards = 100
    _, counts = engine.run_counted(server.openai_base_url, str(tmp_path / "home"), shards)
    assert counts["calls"] == 6 * shards  # upload, create, size and bytes of the answers, two files deleted
    assert counts["commits"] <= 12 * shards
    assert 0 < counts["pages"] <= counts["polls"]


def test_nono_status_loads_no_engine_and_nothing_that_plans_or_calls(tmp_path: Path) -> None:
    nono.run(
        [{"text": "a"}],
        prompt="{{ text }}",
        model="openai/gpt-4o-mini",
        home=tmp_path,
        api_key="local",
        base_url="http://127.0.0.1:9/v1",
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nono.cli", "status"],
        env=os.environ | {"NONO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENT_S,
    )
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "nono.runs.status" in loaded
    assert loaded & {"nono.runs.engine", "nono.runs.plan", "jinja2", "httpx2", "asyncio", "rich", "pyarrow"} == set()


@pytest.mark.parametrize("job", transfer.JOBS, ids=lambda job: job.name)
def test_a_transfer_of_twenty_megabytes_adds_less_than_ten(job: transfer.Job) -> None:
    small = replace(job, ways=job.ways[:1], goals=())
    found = measure_all({transfer.__name__: [small]}, 0.1, lambda _: None, most_repeats=1)
    (measured,) = found[job.name]["nono"]
    assert measured.notes["extra_mb"] < 10


# --- what is said about it ---


def found(ours: float, theirs: float) -> dict[str, list[Measured]]:
    return {"nono": [Measured(ours, ours, 1.0)], "json": [Measured(theirs, theirs, 1.0)]}


def test_a_factor_is_the_other_time_over_ours() -> None:
    goal = faster_than("json", 8)
    assert goal.of(found(2.0, 18.0)) == 9.0
    assert goal.met(9.0)
    assert not goal.met(7.9)


def test_a_missed_goal_is_named_and_counted(tmp_path: Path) -> None:
    (job,) = engine.JOBS
    notes = {"calls": 7.0, "commits": 9.0, "pages": 1.0, "polls": 3.0}
    page = write([job], {"engine": {"nono": [Measured(1.0, 1.0, 50.0, notes)]}}, tmp_path, 1.0, 60.0).read_text("utf-8")
    assert "2 of 3 goals are met" in page
    assert "| engine | HTTP calls a shard, polls aside | ≤ 6 | 7.00 | **no** |" in page
    assert "| engine | commits a shard | ≤ 12 | 9.00 | yes |" in page


def test_a_bar_is_as_long_as_the_goal_is_far() -> None:
    assert Bar("a", 16.0, 4.0, None, "", True).margin == 2.0
    assert Bar("a", 16.0, None, 4.0, "", False).margin == -2.0
    assert 'fill="#c2573a"' in draw([Bar("a < b", 16.0, None, 4.0, "", False)])
    assert "a &lt; b" in draw([Bar("a < b", 16.0, None, 4.0, "", False)])


def test_a_bound_may_lie_on_either_side() -> None:
    assert Goal("", lambda _: 0.0, most=2.0).met(2.0)
    assert not Goal("", lambda _: 0.0, most=2.0).met(2.1)


def test_figures_have_three_digits_and_no_exponent() -> None:
    assert [number(value) for value in (12345.6, 12.345, 0.012345, 0)] == ["12,346", "12.35", "0.0123", "0"]
    assert spread([1.0, 2.0, 3.0]) == "± 50%"
