"""How a sum of money is written: as exactly as it is small, and never as nothing for what costs something."""

from __future__ import annotations

# Less is told as less than this.
SMALLEST_USD = 0.0001


def dollars(usd: float) -> str:
    """US dollars for people: `$1,041.20`, `$0.0312`, `<$0.0001`, `$0.00`."""
    if usd >= 1 or usd == 0:
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= SMALLEST_USD else f"<${SMALLEST_USD}"
