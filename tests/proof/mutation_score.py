"""The score of the last `make mutate`: how many mutants some test noticed, and which none did. Fails below 85 %.

Reads what `mutmut results --all true` prints on standard input.
"""

from __future__ import annotations

import re
import sys
from collections import Counter

LEAST = 0.85
NOTICED = ("killed", "timeout", "segfault", "caught by type check")
NOBODY_LOOKED = ("not checked", "skipped")


def main() -> int:
    found = re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", sys.stdin.read(), re.MULTILINE)
    verdicts = {name: verdict for name, verdict in found if verdict not in NOBODY_LOOKED}
    for name, verdict in sorted(verdicts.items()):
        if verdict not in NOTICED:
            print(f"{verdict}: {name}")
    counts = Counter(verdicts.values())
    noticed = sum(counts[verdict] for verdict in NOTICED)
    score = noticed / len(verdicts) if verdicts else 0.0
    print(f"{noticed} of {len(verdicts)} mutants noticed: {score:.1%} ({dict(counts)})")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
