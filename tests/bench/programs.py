"""Measurements without an engine: the list of tasks, the choice of a route, one entry of a large kubeconfig."""

import json
import os
import random
import sys
import tempfile
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.rows import MINUTES, Row, seconds
from tests.e2e.project import ROOT

from threezone.core import events, process
from threezone.core.errors import ThreezoneError
from threezone.kubeconfig import document, store
from threezone.toolchain.install import ensure


def listing(runs: int) -> list[Row]:
    """`invoke --list` with our tasks compared with an empty tasks file."""
    invoke = [sys.executable, "-m", "invoke", "--list"]
    ours, raw = [], []
    with tempfile.TemporaryDirectory() as empty, events.step("invoke --list") as step:
        Path(empty, "tasks.py").touch()
        for number in range(runs + 1):
            step.say(f"run {number} of {runs}")
            ours.append(seconds(lambda: process.run(invoke, cwd=ROOT, timeout=60)))
            # With no task to list, invoke says so and exits 1.
            raw.append(seconds(lambda: process.run(invoke, cwd=Path(empty), timeout=60, check=False)))
    # The first run of each reads the files from the disk.
    return [Row("`invoke --list`", "bare invoke, empty tasks file", tuple(ours[1:]), tuple(raw[1:]), 1.5)]


def choosing(runs: int) -> list[Row]:
    """The choice of a route behind two black holes compared with that route alone, in a separate network.

    Raises ThreezoneError if that network cannot be made: it needs root and iptables.
    """
    missing = [program for program in ("unshare", "iptables") if process.find(program) is None]
    if os.geteuid() != 0 or missing:
        needs = f"the programs {' and '.join(missing)}" if missing else "root, for a network with DROP rules"
        raise ThreezoneError(f"the chooser is not measured: it needs {needs}")
    inside = ["unshare", "--net", sys.executable, "-m", "tests.bench.chooser", "--runs", str(runs)]
    with events.step("the chooser before black holes"):
        seen = json.loads(process.run(inside, cwd=ROOT, timeout=10 * MINUTES).stdout)
    crowd, alone = tuple(seen["crowd"]), tuple(seen["alone"])
    return [Row("the chooser, two black holes first", "the good route alone", crowd, alone, 1.5)]


# The smallest program that changes an entry the way connect does.
REWRITE = """
import sys
from threezone.kubeconfig import document, store
store.update(lambda old: document.with_route(old, sys.argv[1], sys.argv[2], "localhost"))
"""


def crowded(contexts: int) -> bytes:
    """A kubeconfig with `contexts` contexts, each with certificates as long as kind's."""
    chance = random.Random(1)  # noqa: S311 - the same file in every run, of bytes that mean nothing

    def pem(length: int) -> str:
        text = f"-----BEGIN CERTIFICATE-----\n{b64encode(chance.randbytes(length)).decode()}\n"
        return b64encode(text.encode()).decode()

    made = document.with_current_context(document.Document(), "kind-0")
    data: dict[str, list[Any]] = {"clusters": [], "contexts": [], "users": []}
    for number in range(contexts):
        name = f"kind-{number}"
        cluster = {"certificate-authority-data": pem(780), "server": f"https://127.0.0.1:{30000 + number}"}
        user = {"client-certificate-data": pem(800), "client-key-data": pem(1190)}
        data["clusters"].append({"name": name, "cluster": cluster})
        data["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
        data["users"].append({"name": name, "user": user})
    return document.dump(document.Document({**made.data, **data}))


def rewriting(runs: int) -> list[Row]:
    """One change in a file with 1,000 contexts: ours compared with `kubectl config set-cluster`.

    Ours includes the moment for which the lock stays after a write.
    """
    kubectl = ensure(("kubectl",))["kubectl"].path
    whole, inside, raw = [], [], []
    with tempfile.TemporaryDirectory() as scratch, events.step("one entry of 1,000") as step:
        path = Path(scratch, "config")
        path.write_bytes(crowded(1000))
        env = {"KUBECONFIG": str(path)}
        for number in range(runs + 1):
            step.say(f"run {number} of {runs}")
            ours = [sys.executable, "-c", REWRITE, "kind-700", f"https://127.0.0.1:{20000 + number}"]
            server = f"https://127.0.0.1:{21000 + number}"
            theirs = [str(kubectl), "config", "set-cluster", "kind-700", f"--server={server}", "--tls-server-name=x"]
            whole.append(seconds(partial(process.run, ours, env=env, timeout=60)))
            raw.append(seconds(partial(process.run, theirs, env=env, timeout=60)))
            change = partial(document.with_route, cluster="kind-700", server=f"https://127.0.0.1:{22000 + number}")
            inside.append(seconds(partial(store.update, change, env=env)))
    against = "`kubectl config set-cluster`"
    return [
        Row("one entry of 1,000, the whole process", against, tuple(whole[1:]), tuple(raw[1:]), 1.0),
        Row("one entry of 1,000, in our process", against, tuple(inside[1:]), tuple(raw[1:])),
    ]
