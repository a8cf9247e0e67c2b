"""Every documented example of the Gemini half runs as it stands, against the local server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from guide_tools import Run, examples

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.providers.gemini.check import check_file
from nono.server.app import LocalServer

BLOCKS = examples("gemini_examples.md")


def test_the_first_batch_prints_three_answers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a first batch")
    printed = capsys.readouterr().out
    assert re.search(r"^✓ Job created: batches/\w+$", printed, re.M)
    assert re.search(r"^Status: JOB_STATE_SUCCEEDED \(\d+s\)$", printed, re.M)
    assert re.findall(r"^Response (\d): \S", printed, re.M) == ["1", "2", "3"]


def test_an_inline_job_is_watched_to_its_end_and_its_results_are_printed(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run("inline requests", "status", "waiting", "results of an inline job")
    printed = capsys.readouterr().out
    assert re.search(r"^Job created: batches/\w+\nInitial state: JOB_STATE_PENDING$", printed, re.M)
    assert re.search(r"^Status: JOB_STATE_(PENDING|RUNNING|SUCCEEDED)$", printed, re.M)
    assert "✓ Job completed successfully!" in printed
    assert re.findall(r"^Response (\d): \S", printed, re.M) == ["1", "2"]
    assert names["requests_via_helper"][0]["generation_config"]["max_output_tokens"] == 200


def test_search_structured_output_and_images_run_after_one_another(run: Run) -> None:
    names = run("inline requests", "search", "structured output", "images")
    it = names["batch_service"]
    job = it.wait_for_completion(names["job"].name)
    results = it.get_file_results(job.name)
    assert {line["key"] for line in results} == {"letter-A", "letter-B", "letter-C"}
    for line in results:
        parts = line["response"]["candidates"][0]["content"]["parts"]
        assert any(part.get("inlineData", {}).get("mimeType") == "image/png" for part in parts)


def test_structured_output_is_json_of_the_schema(run: Run) -> None:
    names = run("inline requests", "structured output")
    it = names["batch_service"]
    it.wait_for_completion(names["job"].name)
    (result,) = it.get_inline_results(names["job"].name)
    assert all({"recipe_name", "ingredients"} >= set(recipe) for recipe in json.loads(result))


def test_a_search_answer_names_its_sources(run: Run) -> None:
    names = run("inline requests", "search")
    it = names["batch_service"]
    it.wait_for_completion(names["job"].name)
    (result,) = it.get_inline_results(names["job"].name)
    assert "groundingMetadata" in result.response["candidates"][0]


def test_a_file_job_gives_its_results_as_dicts_and_as_a_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a file", "waiting", "results of a file job")
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"^Key: (\w+), Response: \{", printed, re.M)) == ["ml", "photo", "pizza"]
    assert "Results saved to: results.jsonl" in printed
    assert len(Path("results.jsonl").read_text().splitlines()) == 3


def test_a_file_uploaded_before_is_used_by_its_name(server: LocalServer, run: Run) -> None:
    path = Path("in.jsonl")
    path.write_text(BLOCKS["lines of an input file"] + "\n")
    with GeminiBatchService("k") as it:
        it.upload_file(path, name="abc123xyz")
    names = run("inline requests", "an uploaded file")
    job = names["batch_service"].wait_for_completion(names["job"].name)
    keys = {line["key"] for line in names["batch_service"].get_file_results(job.name)}
    assert keys == {"question-1", "question-2", "question-3"}


def test_the_helpers_run_one_after_the_other(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("inline requests", "one request", "requests from prompts", "writing the file", "listing")
    printed = capsys.readouterr().out
    assert re.search(r"^batches/\w+: JOB_STATE_\w+$", printed, re.M)
    keys = [json.loads(line)["key"] for line in Path("requests.jsonl").read_text().splitlines()]
    assert keys == ["relativity", "quantum", "bigbang"]


def test_a_job_is_cancelled_and_deleted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("inline requests", "cancelling", "deleting")
    printed = capsys.readouterr().out
    # Cancelling takes its time, and Gemini has no word for it: what is being answered is still running.
    assert re.search(r"^Job cancelled: JOB_STATE_(RUNNING|CANCELLED|SUCCEEDED)\nJob deleted$", printed, re.M)


def test_texts_are_classified_in_their_order(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("classification")
    assert re.findall(r"^Text: (\w+)", capsys.readouterr().out, re.M) == ["I", "Terrible", "The", "Amazing", "Didn"]


def test_translations_are_saved_to_a_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("translation")
    assert "✓ Translations saved to translations_result.jsonl" in capsys.readouterr().out
    lines = [json.loads(line) for line in Path("translations_result.jsonl").read_text().splitlines()]
    assert {line["key"] for line in lines} == {"text-1", "text-2", "text-3", "text-4"}


def test_a_data_set_goes_through_the_pipeline(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a pipeline")
    assert re.findall(r"^ID (\d): ", capsys.readouterr().out, re.M) == ["1", "2", "3"]


def test_a_timeout_and_the_progress_are_handled_as_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("inline requests", "a timeout", "progress")
    assert re.search(r"^\[0\.0 min\] Status: JOB_STATE_SUCCEEDED$", capsys.readouterr().out, re.M)


def test_the_polling_intervals_and_ids_are_values(run: Run) -> None:
    names = run("polling", "meaningful ids")
    assert (names["poll_interval"], len(names["keys"])) == (60, 3)


def test_every_state_constant_has_the_value_beside_it() -> None:
    rows = re.findall(r'^GeminiBatchService\.(\w+)\s+# "(.+)"$', BLOCKS["state constants"], re.M)
    assert len(rows) == 6
    assert [getattr(GeminiBatchService, name) for name, _ in rows] == [value for _, value in rows]


def test_the_shown_lines_pass_the_check(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(BLOCKS["lines of an input file"] + "\n")
    assert check_file(path).requests == 3
