"""The plain script for the comparison with `up`: the same steps as single commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from threezone.cluster.drift import detect
from threezone.cluster.lab import Lab
from threezone.delivery import git_server
from threezone.images import build
from threezone.images.load import cluster_image

PASSWORD = "of-a-bench"


def commands(lab: Lab, scratch: Path) -> list[Sequence[str]]:
    """The commands that make the lab by hand, with its own images; files go to `scratch`.

    Create the cluster, load images, install Flux, apply the Git server and the sample app, wait for everything.
    """
    name, context = lab.name, f"--context={lab.context}"
    made = build.ensure_all(("node", "flux", "git-server", "hello"), lab.channel)
    node, git = made["node"][0], made["git-server"][0]
    loaded = [image.reference for image in (*made["flux"], git)] + [build.APP]
    config, serving = scratch / "plain-kind.yaml", scratch / "plain-git.json"
    config.write_text(json.dumps(detect.configuration(lab)))
    node_name = f"{name}-control-plane"
    wanted = [found for _, found in git_server.manifests(git.reference, ["lab"], PASSWORD, node_name)]
    serving.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted}))
    image = cluster_image(node.reference, name)
    controllers = ",".join(image.reference.rpartition("/")[2].partition(":")[0] for image in made["flux"])
    waiting = ("--for=condition=Available", "deployment", "--all", "--all-namespaces", "--timeout=180s")
    return [
        ("docker", "tag", made["hello"][0].reference, build.APP),
        ("kind", "create", "cluster", "--name", name, "--config", str(config), "--image", image, "--wait=120s"),
        ("kind", "load", "docker-image", "--name", name, *loaded),
        ("flux", context, "install", f"--components={controllers}"),
        ("docker", "exec", node_name, "install", "--directory", f"--owner={git_server.UID}", git_server.STORE),
        ("kubectl", context, "apply", f"--filename={serving}"),
        ("kubectl", context, "apply", "--kustomize=local/gitops/apps/hello"),
        ("kubectl", context, "wait", *waiting),
    ]
