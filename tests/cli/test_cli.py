"""The command line, as a shell sees it: data on stdout, talk on stderr, documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patience import PATIENT_S

ROWS = "id,text\na,I loved it\nb,Never again\nc,It is a chair\n"
ASK = ["-p", "Sentiment of: {{ text }}", "-m", "openai/gpt-4o-mini"]


class Shell:
    """Runs `nono` in a folder of its own, against the local server."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "OPENAI_BASE_URL": server.openai_base_url,
            "OPENAI_API_KEY": "local",
        }
        (folder / "rows.csv").write_text(ROWS)

    def __call__(self, *words: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in (self.environment | variables).items() if value}
        return subprocess.run(
            [sys.executable, "-m", "nono.cli", *words],
            cwd=self.folder,
            env=environment,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
        )


@pytest.fixture
def nono(tmp_path: Path, server: Any) -> Shell:
    folder = tmp_path / "shell"
    folder.mkdir()
    return Shell(folder, server)


def test_a_run_writes_one_outcome_per_row_in_order(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "--id", "id", "-o", "out.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = (nono.folder / "out.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "a", "b", "c"]
    assert all(",succeeded," in line for line in lines[1:])


def test_the_next_command_is_the_export_where_the_line_names_none(nono: Shell) -> None:
    assert "next: nono export" not in nono("run", "rows.csv", *ASK, "-o", "out.csv").stderr
    assert "next: nono export" in nono("run", "rows.csv", *ASK).stderr


def test_results_go_to_stdout_with_a_dash(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "-q", "-o", "-")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["I loved it", "Never again", "It is a chair"]


def test_rows_come_from_stdin_with_a_dash(nono: Shell) -> None:
    done = nono("run", "-", *ASK, "-q", "-o", "-", stdin=ROWS)
    assert len(done.stdout.splitlines()) == 3, done.stderr


def test_the_same_line_again_finds_the_same_run_and_sends_nothing(nono: Shell) -> None:
    first = nono("run", "rows.csv", *ASK, "--json")
    again = nono("run", "rows.csv", *ASK)
    assert first.returncode == again.returncode == 0
    assert f"run {json.loads(first.stdout)['id']} is found again" in again.stderr
    assert len(json.loads(nono("ls", "--json").stdout)) == 1


def test_new_starts_the_same_run_anew(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK)
    nono("run", "rows.csv", *ASK, "--new")
    assert len(json.loads(nono("ls", "--json").stdout)) == 2


def test_rows_that_an_earlier_run_has_answered_are_planned_and_sent_no_more(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK, "--name", "monday")
    (nono.folder / "more.csv").write_text(ROWS + "d,Fine\n")
    planned = nono("plan", "more.csv", *ASK, "--reuse")
    assert "reused    3 of 4 rows have answers from earlier runs" in planned.stdout, planned.stderr
    done = nono("run", "more.csv", *ASK, "--reuse-from", "monday", "--json")
    assert "3 of 4 rows have answers from earlier runs" in done.stderr
    status = json.loads(done.stdout)
    assert (status["succeeded"], status["reused"]) == (4, 3)
    assert json.loads(nono("cost", "--json").stdout)[0]["reused"] == 3


def test_rows_without_an_answer_make_exit_code_three(nono: Shell) -> None:
    (nono.folder / "bad.csv").write_text("text\nfine\n[[nono:error 400 context_length_exceeded]]\n")
    done = nono("run", "bad.csv", "-p", "{{ text }}", "-m", "openai/gpt-4o-mini", "-o", "out.jsonl")
    assert done.returncode == 3
    assert "next: nono errors" in done.stderr
    outcomes = [json.loads(line)["outcome"] for line in (nono.folder / "out.jsonl").read_text().splitlines()]
    assert outcomes == ["succeeded", "errored"]
    groups = json.loads(nono("errors", "--json").stdout)
    assert [(group["code"], group["count"]) for group in groups] == [("context_length_exceeded", 1)]


@pytest.mark.parametrize(
    ("words", "variables", "code", "said"),
    [
        (["run"], {}, 2, "Missing argument"),
        (["run", "rows.csv", *ASK, "--max-attempts", "many"], {}, 2, "not a valid integer"),
        (["run", "rows.csv", *ASK], {"OPENAI_API_KEY": ""}, 4, "OPENAI_API_KEY"),
        (["run", "rows.csv", "-p", "{{ txt }}", "-m", "openai/m"], {}, 9, "did you mean 'text'"),
        (["run", "nothere.csv", *ASK], {}, 9, "nothere.csv"),
        (["run", "rows.csv", "-p", "x", "-m", "gpt-4o-mini"], {}, 9, "openai/gpt-4o-mini"),
        (["run", "rows.csv", "-p", "x", "-m", "acme/m"], {}, 9, "acme"),
        (["status", "nosuchrun"], {}, 9, "nosuchrun"),
        (["cancel", "x"], {}, 9, "x"),
        (["run", "rows.csv", *ASK, "-o", "out.xlsx"], {}, 9, "xlsx"),
        (["run", "rows.csv", *ASK, "-o", "nowhere/out.csv"], {}, 9, "there is no folder nowhere"),
    ],
)
def test_an_error_is_one_line_with_a_hint_and_the_documented_code(
    nono: Shell, words: list[str], variables: dict[str, str], code: int, said: str
) -> None:
    done = nono(*words, **variables)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_plan_tells_rows_batches_and_a_range_of_cost_and_sends_nothing(nono: Shell, server: Any) -> None:
    done = nono("plan", "rows.csv", *ASK, "--json")
    plan = json.loads(done.stdout)
    assert (plan["rows"], plan["requests"], plan["batches"]) == (3, 3, 1)
    assert 0 < plan["low_usd"] < plan["high_usd"]
    assert "genai-prices" in plan["price_source"]
    assert not (nono.folder / ".nono").exists()


def test_a_model_without_a_known_price_says_so(nono: Shell) -> None:
    done = nono("plan", "rows.csv", "-p", "{{ text }}", "-m", "openai/my-own-model")
    assert "cost unknown" in done.stdout


def test_check_needs_neither_key_nor_network(nono: Shell) -> None:
    done = nono("check", "rows.csv", *ASK, OPENAI_API_KEY="", OPENAI_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr


def test_a_detached_run_is_finished_by_watch(nono: Shell) -> None:
    left = nono("run", "rows.csv", *ASK, "--detach", "-q")
    assert left.returncode in (0, 8), left.stderr
    watched = nono("watch", left.stdout.strip())
    assert watched.returncode == 0, watched.stderr
    assert json.loads(nono("status", "--json").stdout)["succeeded"] == 3


def test_a_row_is_shown_by_its_id_or_its_number(nono: Shell) -> None:
    run = json.loads(nono("run", "rows.csv", *ASK, "--id", "id", "--json").stdout)["id"]
    assert json.loads(nono("show", run, "b", "--json").stdout)["text"] == "Never again"
    assert json.loads(nono("show", run, "2", "--json").stdout)["custom_id"] == "c"


def test_a_run_is_found_by_its_name_and_by_the_beginning_of_its_id(nono: Shell) -> None:
    run = json.loads(nono("run", "rows.csv", *ASK, "--name", "nightly", "--json").stdout)["id"]
    for name in ("nightly", run, run[:5]):
        assert json.loads(nono("status", name, "--json").stdout)["id"] == run


def test_money_is_listed_per_run(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK)
    (row,) = json.loads(nono("cost", "--json").stdout)
    assert row["input_tokens"] > 0
    assert row["cost_usd"] > 0


def test_purge_forgets_a_run_after_a_yes(nono: Shell) -> None:
    run = json.loads(nono("run", "rows.csv", *ASK, "--json").stdout)["id"]
    refused = nono("purge", run)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert nono("purge", run, "--yes").returncode == 0
    assert json.loads(nono("ls", "--json").stdout) == []
    assert not list((nono.folder / ".nono" / "runs").iterdir())


def test_gc_keeps_results(nono: Shell) -> None:
    run = json.loads(nono("run", "rows.csv", *ASK, "--json").stdout)["id"]
    freed = json.loads(nono("gc", "--yes", "--json").stdout)["freed_bytes"]
    assert freed > 0
    assert len(nono("export", run, "-o", "-").stdout.splitlines()) == 3


def test_orphans_are_batches_with_our_mark_that_no_run_knows(nono: Shell) -> None:
    run = json.loads(nono("run", "rows.csv", *ASK, "--provider-files", "keep", "--json").stdout)["id"]
    assert json.loads(nono("gc", "--orphans", "-m", "openai", "--json").stdout) == []
    nono("purge", run, "--yes")
    (orphan,) = json.loads(nono("gc", "--orphans", "-m", "openai", "--json").stdout)
    assert orphan["tag"].startswith(f"nono-{run}-")


def test_the_key_is_in_nothing_that_is_written_or_printed(nono: Shell) -> None:
    canary = "sk-canary-0123456789"
    printed = ""
    for words in (
        ["run", "rows.csv", *ASK],
        ["status"],
        ["doctor"],
        ["ls", "--json"],
        ["run", "rows.csv", "-p", "{{ x"],
    ):
        done = nono(*words, OPENAI_API_KEY=canary)
        printed += done.stdout + done.stderr
    assert canary not in printed
    for path in nono.folder.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path


def test_an_env_file_gives_keys_and_is_never_a_flag(nono: Shell) -> None:
    (nono.folder / "keys.env").write_text("# mine\nexport OPENAI_API_KEY='from-file'\n")
    done = nono("run", "rows.csv", *ASK, "--env-file", "keys.env", OPENAI_API_KEY="")
    assert done.returncode == 0, done.stderr


def test_another_key_of_the_account_goes_on(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK, "--detach")
    done = nono("resume", OPENAI_API_KEY="another")
    assert done.returncode == 0, done.stderr  # the run knows its address, and the key sees its batches


def test_shell_completion_is_there(nono: Shell) -> None:
    done = nono("--version", _NONO_COMPLETE="")
    assert done.stdout.startswith("nono 0.")
    completed = subprocess.run(
        [Path(sys.executable).parent / "nono"],
        env=nono.environment | {"_NONO_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
    )
    assert "complete" in completed.stdout


def test_a_finished_run_that_is_found_again_tells_its_status_as_json(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK)
    again = nono("run", "rows.csv", *ASK, "--json")
    assert json.loads(again.stdout)["succeeded"] == 3


def test_the_name_of_a_file_is_no_prompt(nono: Shell) -> None:
    (nono.folder / "prompt.txt").write_text("Sentiment of: {{ text }}")
    done = nono("plan", "rows.csv", "-p", "prompt.txt", "-m", "openai/gpt-4o-mini")
    assert done.returncode == 9
    assert "hint: its content is @prompt.txt" in done.stderr


def test_a_prompt_without_a_column_is_warned_about(nono: Shell) -> None:
    done = nono("check", "rows.csv", "-p", "Say hello", "-m", "openai/gpt-4o-mini")
    assert "warning: the prompt uses no column: every row asks the same" in done.stderr


def test_results_go_to_stdout_without_a_name(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK)
    assert [json.loads(line)["id"] for line in nono("export").stdout.splitlines()] == ["a", "b", "c"]
    assert nono("export", "--format", "csv").stdout.startswith("id,text,custom_id,outcome,answer,")


def test_a_reader_that_has_gone_is_no_bug(nono: Shell) -> None:
    (nono.folder / "many.csv").write_text("text\n" + "row\n" * 2_000)
    nono("run", "many.csv", "-p", "{{ text }}", "-m", "openai/gpt-4o-mini", "-q")
    line = f"{sys.executable} -m nono.cli export | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=nono.folder, env=nono.environment, capture_output=True, text=True, timeout=PATIENT_S
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert json.loads(done.stdout)["text"] == "row"


def test_json_and_results_do_not_share_stdout(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "--json", "-o", "-")
    assert done.returncode == 2
    assert "would both go to stdout" in done.stderr


def test_who_only_looks_makes_no_workspace(nono: Shell) -> None:
    assert json.loads(nono("ls", "--json").stdout) == []
    assert nono("status").returncode == 9
    assert nono("status", "nightly").returncode == 9
    assert nono("doctor").returncode == 0
    assert not (nono.folder / ".nono").exists()


def test_a_state_that_no_run_can_have_is_refused(nono: Shell) -> None:
    done = nono("ls", "--state", "runing")
    assert done.returncode == 2
    assert "'running'" in done.stderr


def test_several_runs_are_watched_one_after_the_other(nono: Shell) -> None:
    runs = [nono("run", "rows.csv", *ASK, "--new", "--detach", "-q").stdout.strip() for _ in range(2)]
    watched = nono("watch", *runs, "--json")
    assert watched.returncode == 0, watched.stderr
    states = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [(state["id"], state["succeeded"]) for state in states] == [(run, 3) for run in runs]


def test_a_costly_run_without_a_yes_sends_nothing_and_says_what_is_left(nono: Shell) -> None:
    costly = ["run", "rows.csv", "-p", "{{ text }}", "-m", "openai/gpt-4", "--max-tokens", "1000000"]
    done = nono(*costly)
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    run = json.loads(nono("ls", "--json").stdout)[0]["id"]
    assert f"nothing was sent; the same line goes on, `nono purge {run}` forgets it" in done.stderr
    assert nono("purge", run, "--yes", "--json").stdout == json.dumps({"purged": run}) + "\n"


def test_status_tells_what_fails(nono: Shell) -> None:
    (nono.folder / "bad.csv").write_text("text\nfine\n[[nono:error 400 context_length_exceeded]]\n")
    nono("run", "bad.csv", "-p", "{{ text }}", "-m", "openai/gpt-4o-mini")
    assert " errors  context_length_exceeded 1\n" in nono("status").stdout
    assert json.loads(nono("status", "--json").stdout)["errors"] == {"context_length_exceeded": 1}


def test_an_id_wins_over_a_row_number(nono: Shell) -> None:
    (nono.folder / "ids.csv").write_text("id,text\n2,first\n1,second\n0,third\n")
    nono("run", "ids.csv", *ASK, "--id", "id", "--name", "ids")
    assert json.loads(nono("show", "ids", "0", "--json").stdout)["text"] == "third"


def test_a_pydantic_model_of_a_module_in_this_folder_is_a_schema(nono: Shell) -> None:
    module = "from pydantic import BaseModel\n\n\nclass Verdict(BaseModel):\n    sentiment: str\n"
    (nono.folder / "verdicts.py").write_text(module)
    done = subprocess.run(
        [Path(sys.executable).parent / "nono", "check", "rows.csv", *ASK, "--schema", "verdicts:Verdict"],
        cwd=nono.folder,
        env=nono.environment,
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
    )
    assert done.returncode == 0, done.stderr


def test_runs_are_completed_by_the_shell(nono: Shell) -> None:
    nono("run", "rows.csv", *ASK, "--name", "nightly-tags")
    completed = subprocess.run(
        [Path(sys.executable).parent / "nono"],
        cwd=nono.folder,
        env=nono.environment | {"_NONO_COMPLETE": "bash_complete", "COMP_WORDS": "nono status nig", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
    )
    assert completed.stdout == "plain,nightly-tags\n"


def test_results_of_a_run_that_is_under_way_are_not_taken_for_all(nono: Shell) -> None:
    run = nono("run", "rows.csv", *ASK, "--max-cost", "0").stderr.split()[1]
    exported = nono("export", run)
    assert exported.stdout == ""
    assert f"run {run} is stopped: none of its 3 rows has its outcome yet" in exported.stderr
    assert exported.returncode != 0


def test_an_output_that_is_not_written_yet_is_spoken_of(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "--max-cost", "0", "-o", "out.csv")
    run = done.stderr.split()[1]
    assert f"nothing is written to out.csv yet; when all is there: nono export {run} -o out.csv" in done.stderr
    assert not (nono.folder / "out.csv").exists()


def test_a_check_tells_its_problems_as_json(nono: Shell) -> None:
    (nono.folder / "twice.csv").write_text("id,text\na,one\na,two\n")
    done = nono("check", "twice.csv", *ASK, "--id", "id", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["count"]) == (9, False, 1)
    assert [(problem["kind"], problem["row"]) for problem in found["problems"]] == [("duplicate_id", 1)]


@pytest.mark.parametrize(("content", "said"), [(b"\xb5", "is not UTF-8"), (b"one two", "keys.env:1: not NAME=value")])
def test_what_is_no_env_file_is_said_so(nono: Shell, content: bytes, said: str) -> None:
    (nono.folder / "keys.env").write_bytes(content)
    done = nono("resume", "--env-file", "keys.env")
    assert done.returncode == 2
    assert said in done.stderr and "hint: " in done.stderr


def test_the_results_do_not_take_the_place_of_what_the_run_reads(nono: Shell) -> None:
    before = (nono.folder / "rows.csv").read_text()
    for output in ("rows.csv", "./rows.csv"):
        done = nono("run", "rows.csv", *ASK, "-o", output)
        assert done.returncode == 2
        assert f"{output} is what the run reads" in done.stderr
    assert (nono.folder / "rows.csv").read_text() == before
    assert nono("ls", "-q").stdout == ""


def test_a_quiet_run_says_its_id(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "-q", "-o", "out.csv")
    assert done.stdout.split() == nono("ls", "-q").stdout.split()


def test_an_endpoint_may_be_called_by_its_last_words(nono: Shell) -> None:
    done = nono("run", "rows.csv", *ASK, "--endpoint", "responses", "-o", "out.csv")
    assert done.returncode == 0, done.stderr


def test_what_begins_as_json_and_is_none_is_told(nono: Shell) -> None:
    done = nono("check", "rows.csv", *ASK, "--param", "stop=[")
    assert done.returncode == 2
    assert "--param stop: '[' is not JSON" in done.stderr


def test_reading_commands_mean_the_newest_run_and_say_which(nono: Shell) -> None:
    older = nono("run", "rows.csv", *ASK, "--max-cost", "0").stderr.split()[1]
    newer = nono("run", "rows.csv", *ASK, "--system", "Be brief.", "-q").stdout.strip()
    assert older != newer
    assert f"3 rows of run {newer}" in nono("export", "-o", "out.csv").stderr
    assert f"no errors in run {newer}" in nono("errors").stderr
