"""The lab: create, up from nothing, up with nothing to do, deliver."""

import json
import time
from functools import partial

from tests.bench import plain
from tests.bench.project import FIRST, NAME, PORT, Bench
from tests.bench.rows import Row, seconds

from threezone.core import events


def creating(bench: Bench, runs: int) -> list[Row]:
    """`cluster.create` compared with the two plain commands and a wait until the node is Ready.

    The two commands alone are measured too; they end some seconds before the node is Ready.
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
    """`up` with nothing to do compared with `kind get clusters`, `kubectl get nodes` and `flux check`."""
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
            commands = plain.commands(bench.lab(), bench.root.parent)
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
