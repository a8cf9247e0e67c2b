"""Every documented example of the OpenAI half runs as it stands, against the local server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide_tools import Run, examples

BLOCKS = examples("openai_examples.md")


def test_the_first_batch_prints_three_answers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a first batch")
    printed = capsys.readouterr().out
    assert re.search(r"^✓ Batch created: batch_\w+$", printed, re.M)
    assert re.search(r"^Status: completed \(\d+s\)$", printed, re.M)
    assert sorted(re.findall(r"^(request-\d): \S", printed, re.M)) == ["request-1", "request-2", "request-3"]


def test_chat_is_watched_to_its_end_and_its_results_are_printed_and_saved(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run("chat", "status", "waiting", "results")
    printed = capsys.readouterr().out
    assert re.search(r"^Batch ID: batch_\w+\nStatus: validating$", printed, re.M)
    assert "Total: " in printed and "Failed: 0" in printed
    assert re.search(r"^\[\d+s\] Status: completed - 3/3$", printed, re.M)
    assert "✓ Batch completed successfully!" in printed
    assert sorted(re.findall(r"^(request-\d): \S", printed, re.M)) == ["request-1", "request-2", "request-3"]
    assert "Results saved to: output.jsonl" in printed
    assert "Error for" not in printed
    assert len(Path("output.jsonl").read_text().splitlines()) == 3
    assert names["request"]["custom_id"] == "ai-question-1"


def test_embeddings_are_printed_with_their_dimensions(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("embeddings")
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"^(embed-\d): \d+ dimensions$", printed, re.M)) == ["embed-1", "embed-2", "embed-3"]


def test_moderations_of_text_and_images_are_answered(run: Run) -> None:
    names = run("moderations")
    it, made = names["batch_service"], names["batch"]
    it.wait_for_completion(made.id)
    flagged = {line["custom_id"]: line["response"]["body"]["results"][0]["flagged"] for line in it.get_results(made.id)}
    assert set(flagged) == {"mod-text-1", "mod-text-2", "mod-multimodal-1"}


def test_every_section_of_the_api_runs_after_the_one_before(run: Run) -> None:
    run("chat", "embeddings", "moderations")


def test_a_timeout_and_the_progress_are_handled_as_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("chat", "a timeout", "progress")
    printed = capsys.readouterr().out
    assert re.search(r"^\[0\.0 min\] completed: 3/3$", printed, re.M)
    assert "Failed:" not in printed


def test_a_prefix_gives_meaningful_ids(run: Run) -> None:
    names = run("meaningful ids")
    from nono.connector.genai_batch_processing import OpenAIBatchService

    made = OpenAIBatchService.build_requests_from_prompts(["x"], custom_id_prefix=names["custom_id_prefix"])
    assert made[0]["custom_id"] == "sentiment-analysis-1"


@pytest.mark.parametrize("title", ["endpoint constants", "state constants"])
def test_every_constant_has_the_value_beside_it(title: str) -> None:
    from nono.connector.genai_batch_processing import OpenAIBatchService

    rows = re.findall(r'^OpenAIBatchService\.(\w+)\s+# "(.+)"$', BLOCKS[title], re.M)
    assert len(rows) in (5, 8)
    assert [getattr(OpenAIBatchService, name) for name, _ in rows] == [value for _, value in rows]


def test_the_shown_line_is_one_that_the_check_lets_through(run: Run, tmp_path: Path) -> None:
    from nono.connector.genai_batch_processing import OpenAIBatchService

    path = tmp_path / "line.jsonl"
    path.write_text(BLOCKS["a line of an input file"] + "\n")
    with OpenAIBatchService("k") as it:
        assert it.upload_file(path).filename == "line.jsonl"
