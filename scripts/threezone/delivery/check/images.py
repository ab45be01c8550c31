"""Images that pods of the commit need, and that no node has and no registry serves."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.core import net
from threezone.core.errors import ToolError
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.model import Rendering, id_of
from threezone.images.engine_images import full

# Where the pods are in the workloads of Kubernetes.
PODS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec",),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        (
            ("", "ReplicationController"),
            *(("apps", kind) for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")),
            ("batch", "Job"),
        ),
        ("spec", "template", "spec"),
    ),
}
LIMITS = net.Limits(connect=3.0, stall=5.0, total=10.0, attempts=1)
HOSTS = {"docker.io": "registry-1.docker.io"}
MANIFESTS = "/v2/{name}/manifests/{reference}"
WORKERS = 4
Answer = tuple[bool | None, str]  # whether a registry serves an image; None: it cannot be told, and why


@dataclass(frozen=True)
class Use:
    """An image that a container of an object uses."""

    what: str
    image: str
    always: bool  # it is pulled even where a node has it
    path: str


def uses(rendering: Rendering) -> list[Use]:
    """The images of all workloads that run pods."""
    return [use for group, item in rendering.objects if "kubeConfig" not in group.spec for use in of_object(item)]


def of_object(item: Json) -> Iterator[Use]:
    """The images of one workload that runs pods."""
    where = PODS.get(id_of(item)[:2])
    if where is None or (item.get("spec") or {}).get("replicas") == 0:
        return
    pod: Any = item
    for name in where:
        pod = pod.get(name) if isinstance(pod, dict) else None
    for part in ("initContainers", "containers"):
        for number, container in enumerate((pod or {}).get(part) or []):
            image = str(container.get("image") or "")
            if image:
                policy = container.get("imagePullPolicy") or default_policy(image)
                path = f".{'.'.join(where)}.{part}[{number}].image"
                yield Use(str(id_of(item)), full(image), policy == "Always", path)


def default_policy(image: str) -> str:
    """When a kubelet pulls an image by default (Kubernetes documentation, Images: imagePullPolicy)."""
    return "Always" if full(image).endswith(":latest") else "IfNotPresent"


def findings(
    wanted: list[Use], held: Collection[str], serves: Callable[[str], Answer]
) -> Iterator[tuple[Finding, str]]:
    """The findings about images, each with the path of its field. The nodes have `held`."""
    lacking = [use for use in wanted if use.always or use.image not in held]
    names = list(dict.fromkeys(use.image for use in lacking))
    with ThreadPoolExecutor(WORKERS) as pool:
        answers = dict(zip(names, pool.map(serves, names), strict=True))
    for use in lacking:
        served, why = answers[use.image]
        if served:
            continue
        where = "it is pulled always" if use.image in held else "no node has it"
        message = f"the image {use.image}: {where}, and {why}"
        fix = f"./run invoke image.load {use.image}"
        if use.image in held:
            fix = "set imagePullPolicy: IfNotPresent"
        yield Finding("error" if served is False else "warning", "image", use.what, message, fix), use.path


def is_of_lab(image: str, mirrored: Collection[str]) -> bool:
    """Whether the image comes from the local registry or through one of its mirrors, which are not asked."""
    host = image.partition("/")[0]
    return host in mirrored or bool(re.match(r"localhost(:|$)|127\.", host))


def served(image: str, *, near: bool = True) -> Answer:
    """Whether the image's registry serves it, as far as it tells without a login.

    `near` says that the nodes are on this machine, so that they reach what is reached from here.
    """
    host, _, rest = image.partition("/")
    name, _, reference = rest.rpartition("@") if "@" in rest else rest.rpartition(":")
    path = MANIFESTS.format(name=name.partition(":")[0] if "@" in rest else name, reference=reference)
    try:
        response = net.request("HEAD", f"https://{HOSTS.get(host, host)}{path}", LIMITS)
    except ToolError as error:
        return False if near else None, f"its registry cannot be reached from here ({error.message})"
    response.close()
    if response.status == HTTPStatus.OK:
        return True, ""
    if response.status == HTTPStatus.NOT_FOUND:
        return False, f"{host} does not have it"
    return None, f"{host} does not tell without a login (HTTP {response.status})"
