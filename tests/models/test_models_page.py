"""The page about the embedded models says what the code says. Run this file to write its table again."""

from __future__ import annotations

from pathlib import Path

from nono.models import Wheel, catalogue
from nono.server.models.chat_body import DEFAULT_MAX_TOKENS
from nono.server.models.embedded import CONTEXT_TOKENS
from nono.server.models.embedding import MOST_TOKENS

PAGE = Path(__file__).parent.parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- weights -->\n", "<!-- end -->"


def table() -> str:
    lines = ["| name | for | MB | licence | from | SHA-256 |", "|---|---|---|---|---|---|"]
    for weights in catalogue().values():
        largest = max(weights.files, key=lambda file: file.bytes)
        source = ", ".join(
            f"package {source.package} {source.version}" if isinstance(source, Wheel) else f"hub {source.repository}"
            for source in weights.sources
        )
        lines.append(
            f"| `{weights.name}` | {weights.kind} | {weights.bytes / 1e6:.0f} | {weights.licence} | {source} "
            f"| `{largest.sha256}` |"
        )
    return "\n".join(lines) + "\n"


def test_the_table_of_weights_is_the_catalogue() -> None:
    assert PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0] == table()


def test_the_limits_are_those_of_the_code() -> None:
    page = " ".join(PAGE.read_text("utf-8").split())
    assert f"gets {DEFAULT_MAX_TOKENS:,} tokens" in page
    assert f"share {CONTEXT_TOKENS:,} tokens" in page
    assert f"texts of up to {MOST_TOKENS} tokens" in page


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], "utf-8")
