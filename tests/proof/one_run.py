"""A process that works on one run, to be killed: `python one_run.py HOME BASE_URL ROWS`."""

from __future__ import annotations

import sys

import nono
from nono.runs.bench import Settings

home, base_url, rows = sys.argv[1:]
run = nono.run(
    [{"text": f"{'flaky' if number % 7 == 3 else 'ok'} [[nono:say {number}]]"} for number in range(int(rows))],
    prompt="{{ text }}",
    model="openai/gpt-4o-mini",
    home=home,
    api_key="local",
    base_url=base_url,
    rows_per_part=3,
    # Patient enough for a listing that never lags, as this server's.
    settings=Settings(poll_first_s=0.02, poll_cap_s=0.05, reconcile_s=0.3, fence_s=0.5),
)
sys.exit(0 if run.wait().succeeded == int(rows) else 3)
