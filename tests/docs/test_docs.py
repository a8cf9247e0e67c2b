"""What the documentation shows works: its commands and Python blocks are run, its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands_page import commands_page

from nono.cli import COMMANDS
from nono.cli.exits import MEANING
from nono.facts import read_facts
from nono.providers.openai.compatible import services
from nono.runs.ledger.states import ATTEMPT_MOVES, diagram
from nono.server.faults import catalogue
from ports import free_port

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
LIMITS = {
    "openai": [
        "limits.requests_per_file",
        "limits.file_bytes",
        "limits.embedding_inputs_per_file",
        "limits.creates_per_hour",
        "service.window_s",
        "service.output_kept_s",
        "service.price_factor",
    ],
    "vertex": [
        "limits.requests_per_file",
        "limits.file_bytes",
        "service.queued_s",
        "service.window_s",
        "service.price_factor",
    ],
    "gemini": [
        "limits.inline_bytes",
        "limits.file_bytes",
        "limits.concurrent_batches",
        "service.window_s",
        "service.expires_after_s",
        "service.file_kept_s",
        "service.price_factor",
    ],
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def marked(text: str, mark: str) -> str:
    """What stands between `<!-- mark -->` and `<!-- end -->`."""
    return text.split(f"<!-- {mark} -->\n")[1].split("<!-- end -->")[0].strip()


def limits_table() -> str:
    lines = ["| provider | limit | value | unit | source | checked |", "|---|---|---|---|---|---|"]
    for provider, names in LIMITS.items():
        facts = read_facts(provider)
        for name in names:
            fact = facts[name]
            value = f"{fact.value:,}"
            words = name.partition(".")[2].replace("_", " ")
            lines.append(f"| {provider} | {words} | {value} | {fact.unit} | {fact.source} | {fact.checked} |")
    return "\n".join(lines)


def services_table() -> str:
    lines = ["| service | what | value | unit | source |", "|---|---|---|---|---|"]
    for service in services():
        hosts = ", ".join(host.removeprefix(".") for host in service.hosts)
        lines.append(f"| **{service.name}** | hosts | {hosts} | | |")
        for fact in service.own.values():
            value = ", ".join(fact.value) if isinstance(fact.value, list) else fact.value
            shown = f"{value:,}" if isinstance(value, int) else value
            words = fact.name.partition(".")[2].replace("_", " ")
            lines.append(f"| {service.name} | {words} | {shown} | {fact.unit} | {fact.source} |")
    return "\n".join(lines)


def exit_codes_table() -> str:
    lines = ["| code | meaning |", "|---|---|"]
    return "\n".join(lines + [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()])


# Where a generated text stands, and what makes it; `python tests/docs/test_docs.py` writes them anew.
GENERATED = {
    ("README.md", "limits"): limits_table,
    ("docs/runs.md", "exit codes"): exit_codes_table,
    ("docs/openai.md", "services"): services_table,
    ("docs/server.md", "faults"): catalogue.table,
    ("docs/commands.md", "commands"): commands_page,
    ("docs/architecture.md", "diagram: attempts"): lambda: f"```mermaid\n{diagram(ATTEMPT_MOVES)}\n```",
}


@pytest.mark.parametrize(("file", "mark"), list(GENERATED))
def test_a_table_in_the_docs_is_that_of_the_code(file: str, mark: str) -> None:
    assert marked((ROOT / file).read_text("utf-8"), mark) == GENERATED[file, mark]()


def environment(server: Any, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1,localhost",
        "OPENAI_BASE_URL": server.openai_base_url,
        "OPENAI_API_KEY": "local",
        "GOOGLE_GEMINI_BASE_URL": server.gemini_base_url,
        "GEMINI_API_KEY": "local",
    }


@pytest.mark.parametrize("file", ["README.md", "docs/runs.md", "docs/server.md", "docs/openai.md"])
def test_every_python_block_runs(server: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / "reviews.csv").write_text("text\nI loved it\nNever again\n")
    for number, code in enumerate(blocks((ROOT / file).read_text("utf-8"), "python")):
        script = tmp_path / f"block{number}.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, script],
            cwd=tmp_path,
            env=environment(server, tmp_path),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), code


def test_every_command_of_the_readme_runs(server: Any, tmp_path: Path) -> None:
    port = free_port()
    lines = []
    for block in blocks(README, "bash"):
        for line in block.strip().splitlines():
            if line.startswith("make "):
                # The test that runs the tests would never end; that the target exists is what can be said.
                lines.append(f"{line.replace('make ', 'make --dry-run -C ' + str(ROOT) + ' ')} > /dev/null")
            else:
                lines.append(line)
            if line.endswith("&"):
                ready = f"__import__('socket').create_connection(('127.0.0.1', {port})).close()"
                lines += ["server=$!", "trap 'kill $server' EXIT"]
                lines.append(f'for try in $(seq 200); do python -c "{ready}" 2>/dev/null && break; sleep 0.05; done')
    script = "set -eu\n" + "\n".join(lines).replace("8765", str(port))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(server, tmp_path),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    assert (tmp_path / "answers.csv").read_text().count("succeeded") == 2
    assert (tmp_path / "answers.jsonl").read_text().count("\n") == 2


def test_the_demo_shows_its_answers_and_writes_them(tmp_path: Path) -> None:
    """With the simulated model in the place of the real one, which needs its weights and a minute."""
    code = "import demo; demo.MODEL = 'simulated'; demo.models.pull = print; demo.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "examples"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "agreement with the human ratings" in done.stdout
    assert (tmp_path / "results.jsonl").read_text().count("\n") == 200


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nono.cli", name, "--help"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "Example" in done.stdout


def test_the_readmes_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target


if __name__ == "__main__":
    for (file, mark), make in GENERATED.items():
        path = ROOT / file
        before, rest = path.read_text("utf-8").split(f"<!-- {mark} -->\n")
        path.write_text(f"{before}<!-- {mark} -->\n{make()}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}")
