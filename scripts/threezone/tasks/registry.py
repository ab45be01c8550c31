"""registry.*: one local registry for all clusters of this engine."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.lab import CHANNEL, open_lab
from threezone.tasks.runtime import consent, emit, say, table, task


@task(help={"channel": CHANNEL, "dry-run": "print the plan and change nothing"})
def start(c: Context, channel: str = "", dry_run: bool = False) -> None:
    """Start the local registry and make it known to every cluster of ours. Safe to repeat.

    An image that is pushed to localhost:5001/NAME is pulled by pods under that very name. The registry stands on
    127.0.0.1 and on the clusters' network only, speaks plain HTTP there (which engines accept for loopback), asks for
    no password, and keeps its images when clusters, or itself, are stopped. Clusters that are made later know it too.
    """
    from threezone.cluster import local_registry as registry
    from threezone.core.plan import describe
    from threezone.images.registry import address

    lab = open_lab("", channel)
    plan = registry.plan(lab)
    if dry_run:
        say(describe(plan.steps))
        return
    known = registry.start(lab, plan)
    name = address(plan.wanted[0].port)
    clusters = ", ".join(known) or "none yet"
    say(f"the registry is {name}" + ("" if plan.steps else "; nothing to do") + f"; clusters that know it: {clusters}")
    say(f"docker tag IMAGE {name}/NAME && docker push {name}/NAME")


@task(help={"json": "print JSON"})
def status(c: Context, json: bool = False) -> None:
    """Show the local registry and its mirrors. Exit 4 when it does not run."""
    from threezone.core.errors import ClusterError
    from threezone.images import registry

    name = open_lab().settings.registry.name
    seen = sorted(registry.observe(name).values(), key=lambda each: (each.upstream, each.name))
    rows = [
        {
            "name": each.name,
            "state": each.state,
            "address": "" if each.upstream else registry.address(each.port),
            "for_nodes_and_pods": f"{each.name}:{each.port}",
            "upstream": each.upstream,
        }
        for each in seen
    ]
    if json:
        emit(rows)
    elif rows:
        lines = [[str(row[key]) or "-" for key in rows[0]] for row in rows]
        say(table([["CONTAINER", "STATE", "IMAGES", "NODES AND PODS", "MIRROR OF"], *lines]))
    if not any(each.name == name and each.running for each in seen):
        raise ClusterError("the local registry does not run", fix="./run invoke registry.start")


@task(help={"delete": "also delete every image that it holds (asks)", "yes": "answer yes to the question"})
def stop(c: Context, delete: bool = False, yes: bool = False) -> None:
    """Stop the local registry; its images stay for the next start, unless --delete."""
    from threezone.cluster import local_registry as registry
    from threezone.core.plan import Step, StepKind
    from threezone.images.registry import volumes

    chosen = open_lab().settings.registry.name
    if delete and (held := volumes(chosen)):
        sentence = f"delete every image in the local registry (volume {', '.join(held)})"
        consent([Step(StepKind.STOP_REGISTRY, sentence, f"docker volume rm {' '.join(held)}", asks=True)], yes=yes)
    gone = registry.stop(chosen, delete=delete)
    say(f"gone: {', '.join(gone)}" if gone else "no registry of ours is there")
