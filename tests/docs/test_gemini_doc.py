"""The code in docs/gemini.md runs, against the local server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nono.server.app import LocalServer
from patience import PATIENT_S

PAGE = (Path(__file__).parent.parent.parent / "docs" / "gemini.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
SAYS = [
    "100.0 ['request-1', 'request-2']",
    "1\n1",
    "['request-1.png']\nNone []",
    r"gs://my-bucket/answers/prediction-model-\S+ ['request-1']",
    "2 ['007', '008']",
]


@pytest.mark.parametrize(("code", "says"), list(zip(BLOCKS, SAYS, strict=True)), ids=range(len(SAYS)))
def test_the_code_on_the_page_runs(tmp_path: Path, code: str, says: str) -> None:
    with LocalServer(data=tmp_path / "data") as server:
        environment = {
            "NO_PROXY": "127.0.0.1",
            "GOOGLE_GEMINI_BASE_URL": server.gemini_base_url,
            "GEMINI_API_KEY": "local",
            "GOOGLE_VERTEX_BASE_URL": server.url,
            "STORAGE_EMULATOR_HOST": server.url,
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = re.escape(says).replace(re.escape(r"\S+"), r"\S+")
    assert re.fullmatch(expected, done.stdout.strip()), done.stdout
