"""The score of the last `make mutate`: how many of the mutants that were asked for some test noticed. Fails below 85 %.

Reads what `mutmut results --all true` prints on standard input; the argument is the pattern of the mutants' names.
A mutant is noticed if a test fails, or takes several times as long as it does otherwise. Whatever else became of it
counts against the tests: that none of them reaches it, that it broke their tool, that it was never tried.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from fnmatch import fnmatchcase

LEAST = 0.85
NOTICED = frozenset({"killed", "timeout"})


def main() -> int:
    (pattern,) = sys.argv[1:]
    found = re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", sys.stdin.read(), re.MULTILINE)
    verdicts = {name: verdict for name, verdict in found if fnmatchcase(name, pattern)}
    for name, verdict in sorted(verdicts.items()):
        if verdict != "killed":
            print(f"{verdict}: {name}")
    counts = Counter(verdicts.values())
    noticed = sum(counts[verdict] for verdict in NOTICED)
    score = noticed / len(verdicts) if verdicts else 0.0
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(f"{noticed} of {len(verdicts)} mutants noticed: {score:.1%} ({kinds or 'there are none'})")
    return 0 if score >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
