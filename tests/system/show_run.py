"""A process that works on one run, to be killed: `python show_run.py HOME SOURCE MODEL BASE_URL ROWS_PER_PART`."""

from __future__ import annotations

import sys

import nono
from nono.runs.bench import Settings

home, source, model, base_url, rows_per_part = sys.argv[1:]
run = nono.run(
    source,
    prompt="{{ text }}",
    model=model,
    home=home,
    api_key="local",
    base_url=base_url,
    rows_per_part=int(rows_per_part),
    max_attempts=12,
    # As patient as the list of a server needs that never lags; few batches at a time, so that the run is long.
    settings=Settings(
        max_batches=3,
        max_attempts=12,
        poll_first_s=0.05,
        poll_cap_s=0.2,
        reconcile_s=0.5,
        fence_s=1.0,
        settlers=2,
    ),
)
run.wait()
