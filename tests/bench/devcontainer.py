"""A devcontainer: created together with the lab, and recreated."""

from functools import partial

from tests.bench.project import FIRST, NAME, PORT, Bench
from tests.bench.rows import Row, seconds
from tests.e2e.devcontainer import NO_CLUSTER, belongs_to, prepare
from tests.e2e.project import Project

from threezone.core import events


def opening(bench: Bench, runs: int) -> list[Row]:
    """postCreate in a devcontainer until `kubectl get nodes` works, compared with the two commands outside.

    And postStart in a recreated container. Programs, images and the container's environment exist before. postCreate
    also installs Flux and Git and delivers the commit; the two commands do not.
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
