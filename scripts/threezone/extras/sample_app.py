"""The sample app: deploy it without Flux and Git, get its text, and keep it open on a local port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from threezone.clients import kubectl
from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Api, Refused
from threezone.clients.kubernetes.watch import World, condition, wait_for
from threezone.cluster import node_images
from threezone.cluster.lab import Lab
from threezone.core.errors import CommandFailed, DeliveryError, UsageError
from threezone.core.events import step
from threezone.core.settings import App
from threezone.images import build

PATH = "local/gitops/apps/hello"


def deploy(lab: Lab, path: Path) -> None:
    """Load the sample app's image, apply the kustomization at `path`, and wait until its Deployments are available.

    Raises UsageError with kubectl's message when it cannot be applied. Flux takes the objects over with a delivery.
    """
    lab.api.get("/version")  # kubectl would say in its own words that there is no cluster
    if not lab.foreign:
        (hello,) = build.ensure("hello", lab.channel)
        node_images.load_missing(lab, (node_images.tag_hello(hello),))
    with step(f"apply {path}") as running:
        try:
            done = kubectl.apply(lab.tools["kubectl"], lab.context, path)
        except CommandFailed as error:
            raise UsageError(f"{path} could not be applied", evidence=error.tail, fix="correct it") from None
        running.result = f"{len(done.stdout.splitlines())} objects"
    app = lab.settings.app
    deployments = f"/apis/apps/v1/namespaces/{app.namespace}/deployments"
    running_pods = f"/api/v1/namespaces/{app.namespace}/pods"

    def missing(world: World) -> list[str]:
        late = [key for key, item in world[deployments].items() if condition(item, "Available").get("status") != "True"]
        return [*(f"deployment {key}" for key in late), *pods.missing(world[running_pods].values())]

    with step("wait until it is available"):
        wait_for(
            lab.api,
            [deployments, running_pods],
            missing,
            seconds=lab.settings.gitops.timeout,
            what=app.service,
        )


def open_app(lab: Lab, port: int, opened: Callable[[str], None]) -> NoReturn:
    """Keep the app open on a loopback port until Ctrl-C, or until it cannot be opened; `opened` gets each address.

    A forward ends with its pod, and a new text brings a new pod: the app is opened again, on the same port.
    """
    app = lab.settings.app
    target = (lab.tools["kubectl"], lab.context, app.namespace, f"service/{app.service}", app.port)
    while True:
        with kubectl.forwarded(*target, local=port) as forward:
            opened(forward.address)
            port = int(forward.address.rpartition(":")[2])
            forward.wait()


def app_answer(api: Api, app: App) -> str:
    """A workload's answer over HTTP, through the API server's own proxy, which works from every zone."""
    path = f"/api/v1/namespaces/{app.namespace}/services/{app.service}:{app.port}/proxy/"
    try:
        return api.text(path).strip()
    except Refused as refused:
        raise DeliveryError(
            f"the app {app.service} in the namespace {app.namespace} does not answer",
            evidence=refused.message,
            fix="./run invoke gitops.push, or name another one under threezone.app in invoke.yaml",
        ) from None
