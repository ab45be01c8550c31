"""Prove all routes in parallel, and choose the best one that is proved.

After the first proof, a better route gets a moment if it is connected, and hardly any time otherwise.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from threezone.core.errors import UsageError
from threezone.kubeconfig.credentials import Trust
from threezone.zones.attempt import Attempt
from threezone.zones.proof import Verdict
from threezone.zones.routes import Route

DEADLINE = 3.0  # seconds for each stage of a route; all routes are tried at once
SETTING = "THREEZONE_ROUTE_SECONDS"  # replaces it, for slow networks

# Seconds to wait for a better route after the first proof.
_CONNECTED = 1.0
_RESOLVING = 0.1  # names are preferred, but a resolver needs time
_RESOLVED_LATE = 0.02  # after its name was resolved, if that was later than the first proof
_CONNECTING = 0.1  # as a share of the time to the first proof: the packets may be dropped


def prove(routes: Sequence[Route], trust: Trust, *, deadline: float = DEADLINE) -> Verdict:
    """Try all routes at once, each stage for at most `deadline` seconds. Failures are in the verdict."""
    changed = threading.Condition()
    began = time.monotonic()
    seconds = deadline * _asked() / DEADLINE
    attempts = [Attempt(route, trust, seconds, changed) for route in routes]
    for attempt in attempts:
        threading.Thread(target=attempt.run, name=f"prove {attempt.route.server}", daemon=True).start()
    with changed:
        while (pause := _pause(attempts, began)) > 0:
            changed.wait(pause)
        winner = next((attempt for attempt in attempts if attempt.proved), None)
    proofs = tuple(attempt.finish(winner) for attempt in attempts)
    return Verdict(next((proof for proof in proofs if proof.ok), None), proofs, time.monotonic() - began)


def _asked() -> float:
    """The seconds for a stage that the environment asks for."""
    text = os.environ.get(SETTING, "")
    try:
        seconds = float(text or DEADLINE)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{SETTING} needs a number of seconds, such as 10", evidence=f"given: {text!r}")
    return seconds


def _pause(attempts: Sequence[Attempt], began: float) -> float:
    """Return the seconds to wait for a change; 0 or less when the choice is made."""
    now = time.monotonic()
    end = max((attempt.end for attempt in attempts if not attempt.ended), default=now)
    best = next((index for index, attempt in enumerate(attempts) if attempt.proved), None)
    if best is None:
        return 0.0 if all(attempt.ended for attempt in attempts) else end - now
    first = min(attempt.ended for attempt in attempts if attempt.proved)
    limits = [_limit(attempt, began, first) for attempt in attempts[:best] if not attempt.ended]
    return min(max(limits, default=now), end) - now


def _limit(attempt: Attempt, began: float, first: float) -> float:
    """Return the time until which a better route may end after the `first` proof."""
    if "tcp" in attempt.passed:
        return first + _CONNECTED
    resolved = attempt.passed.get("dns")
    if resolved is None:
        return first + _RESOLVING
    return max(first + _CONNECTING * (first - began), resolved + _RESOLVED_LATE if resolved > first else 0.0)
