"""Speed as ratios, measured in one run, alternating ours and the raw commands: `./run nox -s bench`.

Exits non-zero only when a command fails: speed is a figure to look at, not a test, and other work on the machine shows
in it. The clusters have a name, a port, a kubeconfig and a state of their own, and are removed afterwards.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests import plain
from tests.e2e.devcontainer import NO_CLUSTER, belongs_to, prepare
from tests.e2e.project import ROOT, Project, copy_of_repository

from threezone import events, process
from threezone.display import display
from threezone.errors import ThreezoneError
from threezone.images import build
from threezone.images.load import cluster_image
from threezone.kubeconfig import document, store
from threezone.lab import standing
from threezone.lab.observe import Lab
from threezone.lab.session import Session
from threezone.settings import load
from threezone.tools.install import ensure

ROWS = ("list", "kubeconfig", "chooser", "create", "up", "deliver", "fresh", "devcontainer")
NAME = "threezone-bench"
PORT = 16643
MINUTES = 60.0
FIRST = 90 * MINUTES  # the very first run builds everything from source


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of every run of ours and of the raw commands."""

    what: str
    against: str
    ours: tuple[float, ...]
    raw: tuple[float, ...]
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Median against median."""
        return statistics.median(self.ours) / statistics.median(self.raw)

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.target is None:
            return "for comparison"
        return "met" if self.ratio <= self.target else "missed"

    def data(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "what": self.what,
            "against": self.against,
            "seconds": [round(seconds, 4) for seconds in self.ours],
            "against_seconds": [round(seconds, 4) for seconds in self.raw],
            "ratio": round(self.ratio, 3),
            "target": self.target,
            "verdict": self.verdict,
        }


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    lines = ["| what | median | against | median | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        ours, raw = (f"{statistics.median(seen):.3f} s of {len(seen)}" for seen in (row.ours, row.raw))
        target = "" if row.target is None else f"≤ {row.target}"
        lines.append(f"| {row.what} | {ours} | {row.against} | {raw} | {row.ratio:.2f} | {target} | {row.verdict} |")
    return "\n".join(lines)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def listing(runs: int) -> list[Row]:
    """`invoke --list` with our tasks against bare invoke with an empty tasks file."""
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
    """The chooser with two black holes before the good route, against that route alone; in a network of its own.

    Raises ThreezoneError where that network cannot be made: it takes root, and a firewall that drops packets.
    """
    missing = [program for program in ("unshare", "iptables") if process.find(program) is None]
    if os.geteuid() != 0 or missing:
        needs = f"the programs {' and '.join(missing)}" if missing else "root, for a network with DROP rules"
        raise ThreezoneError(f"the chooser is not measured: it needs {needs}")
    inside = ["unshare", "--net", sys.executable, "-m", "tests.chooser", "--runs", str(runs)]
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
    """A kubeconfig with as many contexts as asked for, each with certificates as long as kind's."""
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
    """One entry of a file with 1,000 contexts: our change of a route against `kubectl config set-cluster`.

    Ours includes the time for which the lock is held on for a kubectl that has read before.
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


class Bench:
    """A project with a cluster of its own, driven as a user drives it."""

    def __init__(self, base: Path) -> None:
        self.root = base / "project"
        self.root.mkdir()
        copy_of_repository(self.root)
        declared = self.root / "local/kubernetes/kind.yaml"
        declared.write_text(re.sub(r"apiServerPort: \d+", f"apiServerPort: {PORT}", declared.read_text()))
        settings = self.root / "invoke.yaml"
        settings.write_text(re.sub(r"(cluster:\n\s+name:) .*", rf"\1 {NAME}", settings.read_text()))
        self.env = {"KUBECONFIG": str(base / "config"), "THREEZONE_STATE": str(base / "state")}
        self.run("git", "commit", "--quiet", "--all", "--message", "A cluster for measuring")
        self.invoke("engine.start", "--yes", timeout=15 * MINUTES)
        self.invoke("tools.install", timeout=FIRST)
        tools = self.invoke("tools.list", "--path", timeout=MINUTES).stdout.strip()
        self.env["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def run(self, *argv: str, timeout: float = 10 * MINUTES) -> process.Completed:
        """Run a command in the project."""
        return process.run(argv, cwd=self.root, env=self.env, timeout=timeout)

    def invoke(self, *argv: str, timeout: float = 10 * MINUTES) -> process.Completed:
        """Run a task through the launcher."""
        return self.run("./run", "invoke", *argv, timeout=timeout)

    def each(self, commands: Sequence[Sequence[str]]) -> None:
        """Run commands one after another."""
        for command in commands:
            self.run(*command)

    def session(self) -> Session:
        """The session in which the tasks of this project work."""
        settings = load(self.root)
        return Session(Lab(self.root, settings, NAME), settings.channel)

    def memory(self) -> str:
        """The running lab's memory as the engine counts it, and what the node images take on its disk."""
        used = self.run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout
        images = self.run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}").stdout
        nodes = [line for line in used.splitlines() if line.startswith(f"{NAME}-")]
        disk = [line for line in images.splitlines() if line.startswith(("threezone/node:v", "threezone/preloaded:"))]
        return "; ".join([*nodes, *disk])

    @staticmethod
    def told(stderr: str) -> None:
        """Tell when each step of a task ended, and what it took."""
        for line in stderr.splitlines():
            if "✓" in line:
                events.note(f"ours: {line.strip()}")

    def raw_create(self) -> tuple[list[str], list[str]]:
        """The two raw commands of the documents, from the same node image, with what this engine needs."""
        session = self.session()
        (node,) = build.ensure("node", session.channel)
        config = self.root.parent / "kind.yaml"
        config.write_text(json.dumps(standing.configuration(session)))
        image = cluster_image(node.reference, NAME)
        create = ["kind", "create", "cluster", "--name", NAME, "--config", str(config), "--image", image]
        server = f"--server=https://host.docker.internal:{PORT}"
        return create, ["kubectl", "config", "set-cluster", f"kind-{NAME}", server, "--tls-server-name=localhost"]


def creating(bench: Bench, runs: int) -> list[Row]:
    """`cluster.create` against the documents' script: two raw commands, then `kubectl get nodes` until it says Ready.

    The two commands alone are measured too, for comparison: they end some seconds before the node is Ready.
    """
    server = (f"--server=https://127.0.0.1:{PORT}", "--tls-server-name=localhost")
    ready = ["kubectl", *server, "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s"]
    ours, raw, waited = [], [], []
    with events.step("cluster.create") as step:
        for number in range(1, runs + 1):
            step.say(f"run {number} of {runs}")
            ours.append(seconds(lambda: bench.invoke("cluster.create", "--name", NAME)))
            bench.invoke("cluster.delete", "--name", NAME, "--yes")
            commands = bench.raw_create()
            raw.append(seconds(partial(bench.each, commands)))
            waited.append(raw[-1] + seconds(lambda: bench.run(*ready)))
            bench.run("kind", "delete", "cluster", "--name", NAME)
    two = "`kind create cluster`, `kubectl config set-cluster`"
    return [
        Row("`cluster.create`", f"{two}, until the node is Ready", tuple(ours), tuple(waited), 1.05),
        Row("`cluster.create`", f"{two} alone, the node not Ready yet", tuple(ours), tuple(raw)),
    ]


def repeating(bench: Bench, runs: int) -> list[Row]:
    """`up` with nothing to do against `kind get clusters`, `kubectl get nodes` and `flux check`, one after another."""
    ours, raw = [], []
    with events.step("up with nothing to do") as step:
        step.say("bringing the lab up")
        bench.invoke("up", "--yes", timeout=FIRST)
        context = f"--context=kind-{NAME}"
        listed = json.loads(
            bench.run("kubectl", context, "get", "deployments", "--namespace=flux-system", "--output=json").stdout
        )
        names = [item["metadata"]["name"] for item in listed["items"]]
        components = ",".join(name for name in names if name.endswith("-controller"))
        commands = (
            ("kind", "get", "clusters"),
            ("kubectl", context, "get", "nodes"),
            ("flux", context, "check", f"--components={components}"),
        )
        for number in range(1, runs + 1):
            step.say(f"run {number} of {runs}")
            ours.append(seconds(lambda: bench.invoke("up", "--yes")))
            raw.append(seconds(lambda: bench.each(commands)))
    against = "`kind get clusters`, `kubectl get nodes`, `flux check`"
    return [Row("`up` with nothing to do", against, tuple(ours), tuple(raw), 1.5)]


def fresh(bench: Bench, runs: int) -> list[Row]:
    """`up` from nothing, and `cluster.start` after `cluster.stop`, against a plain script that makes the same lab.

    Tools and images are cached for both. What each step took, the lab's memory and the images' disk go to stderr.
    """
    ours, started, raw = [], [], []
    with events.step("up from nothing") as step:
        step.say("getting what is cached afterwards")
        bench.invoke("up", "--yes", timeout=FIRST)
        events.note(bench.memory())
        bench.invoke("down", "--yes")
        for number in range(1, runs + 1):
            step.say(f"run {number} of {runs}")
            commands = plain.commands(bench.session(), bench.root.parent)
            took = [seconds(partial(bench.each, [command])) for command in commands]
            raw.append(sum(took))
            for command, lasted in zip(commands, took, strict=True):
                events.note(f"plain: {lasted:5.1f} s {' '.join(command[:3])}")
            bench.run("kind", "delete", "cluster", "--name", NAME)
            began = time.perf_counter()
            shown = bench.invoke("up", "--yes")
            ours.append(time.perf_counter() - began)
            bench.told(shown.stderr)
            bench.invoke("cluster.stop")
            began = time.perf_counter()
            shown = bench.invoke("cluster.start")
            started.append(time.perf_counter() - began)
            bench.told(shown.stderr)
            bench.invoke("down", "--yes")
    against = "the plain script, one step after the other"
    return [
        Row("`up` from nothing", against, tuple(ours), tuple(raw), 0.6),
        Row("`cluster.start` after `cluster.stop`", against, tuple(started), tuple(raw), 0.6),
    ]


# The sample app once more, in a namespace of its own that no Flux looks at.
BY_HAND = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: by-hand
resources: [../local/gitops/apps/hello]
"""


def delivering(bench: Bench, runs: int) -> list[Row]:
    """A committed text until every pod shows it: through Git and Flux, against the same manifests applied by hand.

    The stages are those of the proof's phase `update`, which changes a text in the same way. Last, a reconcile that
    finds nothing new.
    """
    context, by_hand = f"--context=kind-{NAME}", bench.root / "by-hand"
    raw_commands = (
        ("kubectl", context, "apply", f"--kustomize={by_hand}"),
        ("kubectl", context, "--namespace=by-hand", "rollout", "status", "deployment/hello", "--timeout=180s"),
    )
    nothing_new = ("flux", context, "reconcile", "kustomization", "lab", "--with-source")
    ours, raw, idle, raw_idle = [], [], [], []
    stages: dict[str, list[float]] = {stage: [] for stage in ("push", "fetch", "apply", "settle")}
    with events.step("commit to applied") as step:
        step.say("bringing the lab up")
        bench.invoke("up", "--yes", timeout=FIRST)
        by_hand.mkdir()
        (by_hand / "kustomization.yaml").write_text(BY_HAND)
        for number in range(runs + 1):
            step.say(f"run {number} of {runs}")
            (bench.root / "local/gitops/apps/hello/index.html").write_text(f"run {number}\n")
            bench.run("git", "commit", "--quiet", "--all", "--message", f"Run {number}")
            raw.append(seconds(partial(bench.each, raw_commands)))
            ours.append(seconds(lambda: bench.invoke("gitops.push")))
            idle.append(seconds(lambda: bench.invoke("flux.reconcile")))
            raw_idle.append(seconds(partial(bench.each, [nothing_new])))
            proof = json.loads(bench.invoke("gitops.prove", "--phases", "create,update", "--json").stdout)
            for stage, seen in stages.items():
                seen.append(proof["phases"][1]["seconds"][stage])
    hand, by_hand_seconds = "`kubectl apply`, `kubectl rollout status`", tuple(raw[1:])
    # The first run of each makes the namespaces.
    return [
        Row("commit to applied, `gitops.push`", hand, tuple(ours[1:]), by_hand_seconds, 2.0),
        *(Row(f"of a proof's update: {name}", hand, tuple(seen[1:]), by_hand_seconds) for name, seen in stages.items()),
        Row("`flux.reconcile`, nothing new", "`flux reconcile kustomization`", tuple(idle[1:]), tuple(raw_idle[1:])),
    ]


def opening(bench: Bench, runs: int) -> list[Row]:
    """postCreate in a devcontainer until `kubectl get nodes` works there, against the documents' two commands outside.

    And how long postStart takes to connect a container that was thrown away and made again. Programs, images and the
    container's environment are there before; Flux, Git and the commit come with postCreate, and not with the commands.
    """
    base = bench.root.parent
    project = Project(bench.root, base / "config", base / "state")
    project.kubeconfig.touch()
    get = ("kubectl", "get", "nodes")
    server = (f"--server=https://127.0.0.1:{PORT}", "--tls-server-name=localhost")
    bench.invoke("image.build", "all", timeout=FIRST)
    bench.invoke("down", "--yes")
    ours, raw, connected, by_hand = [], [], [], []
    with events.step("a devcontainer") as step:
        (base / "home").mkdir()
        dev = prepare(project, NAME, base / "home")
        create, connect = ["./run", "invoke", "up"], dev.definition["postStartCommand"]
        try:
            for number in range(1, runs + 1):
                step.say(f"run {number} of {runs}")
                told = dev.up("--remove-existing-container")
                ours.append(told.seconds(*create) + seconds(partial(dev.run, *get)))
                connected.append(dev.up("--remove-existing-container", env=NO_CLUSTER).seconds(*connect))
                dev.run("./run", "invoke", "down", "--yes")
                commands = bench.raw_create()
                raw.append(seconds(partial(bench.each, [*commands, (*get, *server)])))
                by_hand.append(seconds(partial(bench.each, [commands[1], (*get, *server)])))
                bench.run("kind", "delete", "cluster", "--name", NAME)
        finally:
            belongs_to(0, bench.root)
            dev.remove()
    two = "`kind create cluster`, `kubectl config set-cluster`"
    return [
        Row(
            "postCreate and `kubectl get nodes` in a devcontainer",
            f"{two}, `kubectl get nodes` outside",
            tuple(ours),
            tuple(raw),
        ),
        Row(
            "postStart in a container made again",
            "`kubectl config set-cluster`, `kubectl get nodes` outside",
            tuple(connected),
            tuple(by_hand),
        ),
    ]


@contextmanager
def benched() -> Iterator[Bench]:
    """A bench, and nothing left of it afterwards."""
    base = Path(tempfile.mkdtemp(prefix="threezone-bench-"))
    try:
        bench = Bench(base)
        try:
            yield bench
        finally:
            bench.invoke("down", "--yes")
    finally:
        shutil.rmtree(base)


def main() -> int:
    """Measure what was asked for and print it."""
    # As a user has it: Python keeps compiled modules. Some build machines switch that off, for their images' sake.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(prog="./run nox -s bench --", description=__doc__)
    parser.add_argument("--only", choices=ROWS, action="append", help="measure only this")
    parser.add_argument("--list-runs", type=int, default=15, metavar="N")
    parser.add_argument("--kubeconfig-runs", type=int, default=11, metavar="N")
    parser.add_argument("--chooser-runs", type=int, default=60, metavar="N")
    parser.add_argument("--create-runs", type=int, default=3, metavar="N")
    parser.add_argument("--up-runs", type=int, default=7, metavar="N")
    parser.add_argument("--deliver-runs", type=int, default=5, metavar="N")
    parser.add_argument("--fresh-runs", type=int, default=3, metavar="N")
    parser.add_argument("--devcontainer-runs", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON with every single measurement")
    asked = parser.parse_args()
    only = asked.only or ROWS
    rows: list[Row] = []
    try:
        with display():
            if "list" in only:
                rows += listing(asked.list_runs)
            if "kubeconfig" in only:
                rows += rewriting(asked.kubeconfig_runs)
            if "chooser" in only:
                try:
                    rows += choosing(asked.chooser_runs)
                except ThreezoneError as error:
                    if asked.only or error.evidence:
                        raise
                    events.note(error.message)  # a machine that cannot measure this row still measures the others
            if {"create", "up", "deliver", "fresh", "devcontainer"} & set(only):
                with benched() as bench:
                    rows += creating(bench, asked.create_runs) if "create" in only else []
                    rows += repeating(bench, asked.up_runs) if "up" in only else []
                    rows += delivering(bench, asked.deliver_runs) if "deliver" in only else []
                    rows += fresh(bench, asked.fresh_runs) if "fresh" in only else []
                    rows += opening(bench, asked.devcontainer_runs) if "devcontainer" in only else []
    except ThreezoneError as error:
        sys.stderr.write(f"error: {error.message}\n{error.evidence}\n")
        return error.exit_code
    sys.stdout.write((json.dumps([row.data() for row in rows], indent=2) if asked.json else markdown(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
