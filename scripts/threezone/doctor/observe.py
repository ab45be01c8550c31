"""Observe everything at once: each probe in a thread of its own, with one deadline for all. Read-only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from threezone.cluster.lab import Lab
from threezone.core import redaction
from threezone.core.errors import ThreezoneError
from threezone.doctor.facts import Facts, Subject

SECONDS = 8.0  # for all probes together
SETTLE_SECONDS = 60.0  # after a repair
PAUSE = 1.0
# What decides where programs go; other variables are nobody's business.
VARIABLES = (
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_DEFAULT_PLATFORM", "DOCKER_TLS_VERIFY", "KUBECONFIG",
    "KIND_EXPERIMENTAL_PROVIDER", "NO_PROXY", "no_proxy",
)  # fmt: skip
Probe = Callable[[], object]


def subject(lab: Lab) -> Subject:
    """What the diagnosis of this lab is about."""
    return Subject(lab.name, lab.context, bool(lab.foreign), str(lab.root))


def observe(lab: Lab, seconds: float = SECONDS) -> Facts:
    """All facts that are to be had within `seconds`. Raises nothing: what failed or hung is named in the facts."""
    began = time.monotonic()
    parts, silent, failed = gather(probes(lab), seconds)
    authority = parts.pop("authority", None)
    if authority is not None and parts.get("cluster") is not None:
        import dataclasses

        parts["cluster"] = dataclasses.replace(parts["cluster"], ca=authority)
    environment = {name: redaction.redact(os.environ[name]) for name in VARIABLES if name in os.environ}
    spent = time.monotonic() - began
    return Facts(subject(lab), datetime.now(UTC), environment, **parts, silent=silent, failed=failed, seconds=spent)


def settled(lab: Lab, patience: float = SETTLE_SECONDS) -> Facts:
    """The facts after a repair: observed until nothing is wrong or `patience` is over. Controllers need a moment."""
    from threezone.doctor.diagnose import diagnose

    end = time.monotonic() + patience
    while not diagnose(facts := observe(lab)).healthy and time.monotonic() < end:
        time.sleep(PAUSE)  # what is missing may be of any kind: there is no one event to wait for
    return facts


def probes(lab: Lab) -> dict[str, Probe]:
    """The probes of a lab, by the part of the facts that they observe. A foreign cluster has no engine here."""
    from threezone.doctor.probes import cluster, engine, here, kubeconfig

    everywhere: dict[str, Probe] = {
        "kubeconfig": lambda: kubeconfig.observe(lab.context),
        "route": lambda: kubeconfig.prove_entry(lab.context),
        "world": lambda: cluster.world(lab),
        "here": lambda: here.observe(lab),
    }
    if lab.foreign:
        return everywhere
    return {
        "engine": engine.observe,
        "networks": engine.networks_of,
        "host": engine.host,
        "declared": lambda: cluster.declared(lab),
        "cluster": lambda: cluster.observe(lab.name),
        "authority": lambda: cluster.authority(lab.name, lab.root),
        **everywhere,
    }


def gather(functions: Mapping[str, Probe], seconds: float) -> tuple[dict[str, Any], tuple[str, ...], dict[str, str]]:
    """Run all functions at once. Returns the results, the names without one in time, and the errors.

    A thread that hangs is left behind: daemon threads do not keep the program, and its children end with it.
    """
    results: dict[str, Any] = {}
    failed: dict[str, str] = {}
    end = time.monotonic() + seconds

    def run(name: str, function: Probe) -> None:
        try:
            results[name] = function()
        except ThreezoneError as error:
            failed[name] = error.message
        except Exception as error:  # noqa: BLE001 - one probe's fault must not hide what the others have found
            failed[name] = f"{type(error).__name__}: {redaction.redact(str(error))[:200]}"

    threads = {
        name: threading.Thread(target=run, args=(name, function), name=f"probe {name}", daemon=True)
        for name, function in functions.items()
    }
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    silent = tuple(name for name in functions if name not in results and name not in failed)
    return {name: results[name] for name in functions if name in results}, silent, dict(failed)
