"""How long a test waits for what ends as soon as it happens: long enough for the slowest machine, at no cost."""

from __future__ import annotations

PATIENT_S = 120.0
