"""registry.*: one local registry for all clusters of this engine."""

from pathlib import Path
from typing import Annotated

from threezone.tasks.display import table
from threezone.tasks.options import Channel, DryRun, Json, Yes, open_lab
from threezone.tasks.runtime import agreed, consent, present, say, task


@task
def start(channel: Channel = "", dry_run: DryRun = False) -> None:
    """Start the local registry and configure every cluster of ours for it. Safe to repeat.

    Pods pull an image that was pushed to localhost:5001/NAME under the same name. The registry listens on
    127.0.0.1 and on the clusters' network only, and speaks plain HTTP there, which engines accept for loopback. It
    needs a login (registry.login), which your clusters' nodes have. It keeps its images when it or a cluster is
    stopped. Clusters created later use it too.
    """
    from threezone.cluster import local_registry
    from threezone.images.registry import address

    lab = open_lab("", channel)
    plan = local_registry.plan(lab)
    if not agreed(plan.steps, yes=True, dry_run=dry_run):
        return
    clusters = ", ".join(local_registry.start(lab, plan)) or "none yet"
    name = address(plan.wanted[0].port)
    say(f"the registry is {name}{'' if plan.steps else '; nothing to do'}; clusters that use it: {clusters}")
    say(f"./run invoke registry.login && docker tag IMAGE {name}/NAME && docker push {name}/NAME")


@task
def login(
    output: Annotated[str, "write the login into this file, in docker's format, and leave docker's own as it is"] = "",
) -> None:
    """Log docker in to the local registry, so that you can push to it.

    Docker keeps the login as you have configured it (~/.docker/config.json, or a credential helper). The password is
    made by the registry's first start, and never printed. For programs without docker (crane, skopeo) and for pods
    that talk to the registry (Flux's OCIRepository), --output FILE writes a file that only you can read:
    kubectl create secret generic registry --type=kubernetes.io/dockerconfigjson --from-file=.dockerconfigjson=FILE
    """
    from threezone.cluster import local_registry
    from threezone.images import registry_login

    address, password, names = local_registry.login(open_lab().settings.registry.name)
    if output:
        from threezone.zones.export.path import refuse_in_git

        path = Path(output).absolute()
        refuse_in_git(path, "docker itself is logged in then")
        registry_login.write(path, names, password)
        say(f"{path}: the login for {' and '.join(names)}", output)
        return
    from threezone.clients.docker import images

    images.login(address, registry_login.USER, password)
    say(f"docker is logged in to {address}")


@task
def status(json: Json = False) -> None:
    """Show the local registry and its mirrors. Exit 4 when it does not run."""
    from threezone.core.errors import ClusterError
    from threezone.images import registry

    name = open_lab().settings.registry.name
    containers = sorted(registry.observe(name).values(), key=lambda each: (each.upstream, each.name))
    rows = [
        {
            "name": each.name,
            "state": each.state,
            "address": "" if each.upstream else registry.address(each.port),
            "for_nodes_and_pods": f"{each.name}:{each.port}",
            "upstream": each.upstream,
        }
        for each in containers
    ]
    lines = [[str(value) or "-" for value in row.values()] for row in rows]
    text = table([["CONTAINER", "STATE", "IMAGES", "NODES AND PODS", "MIRROR OF"], *lines]) if rows else ""
    present(rows, text, as_json=json)
    if not any(each.name == name and each.running for each in containers):
        raise ClusterError("the local registry does not run", fix="./run invoke registry.start")


@task
def stop(delete: Annotated[bool, "also delete every image that it holds (asks)"] = False, yes: Yes = False) -> None:
    """Stop the local registry; its images stay for the next start, unless --delete."""
    from threezone.cluster import local_registry
    from threezone.core.plan import Step, StepKind
    from threezone.images.registry import volumes

    name = open_lab().settings.registry.name
    if delete and (volume := volumes(name)):
        sentence = f"delete every image in the local registry (volume {', '.join(volume)})"
        consent([Step(StepKind.STOP_REGISTRY, sentence, f"docker volume rm {' '.join(volume)}", asks=True)], yes=yes)
    removed = local_registry.stop(name, delete=delete)
    say(f"removed: {', '.join(removed)}" if removed else "there is no registry of ours")
