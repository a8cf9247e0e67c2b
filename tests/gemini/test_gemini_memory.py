"""Files of any size pass through little memory, both ways, blocking and on an event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gemini_double import GeminiDouble, operation

SIZE = 200_000_000
ROW = '{"key":"row-%07d","request":{"contents":[{"parts":[{"text":"' + "x" * 900 + '"}]}]}}\n'


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred megabytes in some two hundred thousand requests."""
    path = tmp_path_factory.mktemp("large") / "large.jsonl"
    with path.open("w") as file:
        for start in range(0, SIZE // len(ROW % 0) + 1, 1000):
            file.write("".join(ROW % number for number in range(start, start + 1000)))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the high-water mark is read from /proc")
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_two_hundred_megabytes_need_less_than_twenty(
    gemini: GeminiDouble, large: Path, tmp_path: Path, mode: str, way: str
) -> None:
    gemini.outputs["files/batch-big"] = large
    output = {"responsesFile": "files/batch-big"}
    gemini.jobs["batches/big"] = operation("batches/big", "BATCH_STATE_SUCCEEDED", output=output)
    small = tmp_path / "small.jsonl"
    small.write_text(ROW % 1)
    target = tmp_path / "out.jsonl"
    probe = Path(__file__).with_name("memory_probe.py")
    done = subprocess.run(
        [sys.executable, probe, mode, way, gemini.base_url, large, target, small],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000_000
    if way == "down":
        assert target.stat().st_size == large.stat().st_size
    else:
        assert gemini.uploads["u1"].received == large.stat().st_size
