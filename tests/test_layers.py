"""The layers hold: nothing imports upward, and the light core stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENT_S

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "nono"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

# Layer → what it may import of nono, besides itself. `docs/architecture.md` shows the same table in words.
VALUES = {"errors", "secret", "model"}
DESCRIBED = VALUES | {"exchange", "retry", "download", "waiting", "jsonl", "files", "facts", "media"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "secret": set(),
    "model": VALUES,
    "exchange": VALUES,
    "retry": DESCRIBED,
    "download": DESCRIBED,
    "waiting": DESCRIBED,
    "jsonl": DESCRIBED,
    "files": DESCRIBED,
    "facts": DESCRIBED,
    "media": DESCRIBED,
    "webhooks": DESCRIBED,
    "transport": DESCRIBED,
    "models": DESCRIBED,
    "providers": DESCRIBED,
    "datasets": DESCRIBED,
    "runs": DESCRIBED | {"transport", "providers", "datasets", "webhooks"},
    "server": DESCRIBED | {"transport", "providers", "models"},
    "connector": DESCRIBED | {"transport", "providers"},
    "cli": DESCRIBED | {"transport", "providers", "datasets", "runs", "server", "models", "connector", "webhooks"},
    "__init__": {"connector", "errors", "model", "runs"},
}


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    modules = {name.split(".")[1] for name in names if name.startswith("nono.")}
    return modules - {"__version__"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    own = layer(path)
    assert imports(path) - ALLOWED[own] - {own} == set()


@pytest.mark.parametrize("provider", ["openai", "gemini", "vertex"])
def test_the_runs_know_no_provider_by_name(provider: str) -> None:
    for path in SOURCE.joinpath("runs").rglob("*.py"):
        assert f'"{provider}"' not in path.read_text(), path


def section(heading: str) -> str:
    return ARCHITECTURE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]


def test_every_layer_stands_in_the_page_on_architecture() -> None:
    missing = [name for name in ALLOWED if name != "__init__" and f"`{name}" not in section("Layers")]
    assert missing == []


def test_every_file_of_the_runs_stands_once_in_the_page_on_architecture() -> None:
    named = re.findall(r"`(\w+)`", section("Where to begin reading"))
    there = [path.stem for path in SOURCE.joinpath("runs").iterdir() if path.stem[0] != "_"]
    assert sorted(named) == sorted(there)


def test_only_the_ledger_sees_sqlite_among_the_runs() -> None:
    for path in SOURCE.joinpath("runs").rglob("*.py"):
        if "ledger" not in path.parts:
            assert "sqlite3" not in path.read_text(), path


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False, timeout=PATIENT_S
    )
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}


HEAVY = {"httpx2", "msgspec", "jinja2", "pydantic", "starlette", "uvicorn", "pyarrow", "numpy", "sqlite3", "openai"}


def test_import_nono_loads_nothing_but_itself() -> None:
    assert loaded_by("import nono") & (HEAVY | {"click", "rich", "asyncio"}) == set()


def test_the_help_page_loads_click_and_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['nono', '--help']; from nono.cli import main; main()"
    loaded = loaded_by(code)
    assert "click" in loaded
    assert loaded & (HEAVY | {"rich", "asyncio", "google"}) == set()


def test_every_public_name_exists() -> None:
    import nono

    for name in nono.__all__:
        assert getattr(nono, name) is not None


def test_type_checkers_are_told_of_every_public_name_where_it_lives() -> None:
    import nono

    nodes = ast.walk(ast.parse(SOURCE.joinpath("__init__.py").read_text("utf-8")))
    told = {alias.asname: node.module for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name: module for name, module in told.items() if name is not None} == nono._PUBLIC
