"""flux.*: Flux in the cluster."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.display import table
from threezone.tasks.options import (
    Channel,
    ClusterName,
    ContextName,
    DryRun,
    Json,
    Yes,
    asking_on_foreign,
    open_lab,
    words,
)
from threezone.tasks.runtime import agreed, ask, present, say, task, yes_no

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.flux.objects import FluxObject

Object = Annotated[list[str], "KIND/NAME, such as kustomization/lab; repeatable"]
Namespace = Annotated[str, "the objects' namespace (default: flux-system)"]
Timeout = Annotated[int, "seconds for one kind of object (default: threezone.gitops.timeout in invoke.yaml)"]


@task
def install(
    components: Annotated[str, "comma-separated, to add (default: those that run, else the channel's)"] = "",
    flux_version: Annotated[str, "fail unless local/pins.toml pins this version"] = "",
    export: Annotated[bool, "print the manifests, to commit them, and change nothing; needs no cluster"] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, "answer yes: replace a Flux that somebody else installed, or a newer one"] = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Install or upgrade Flux in place and wait for it; fails at once for a pod that cannot start. Safe to repeat.

    A Flux of somebody else (bootstrap, Helm, flux install) is changed only after a question; a second one is refused.
    """
    from threezone.core import pins
    from threezone.core.plan import Plan
    from threezone.flux import install as flux_install
    from threezone.flux import installation

    lab = open_lab(name, channel, context)
    installation.require_version(flux_version, pins.tools(lab.root).flux.version, lab.channel)
    if export:
        chosen = installation.choose(words(components), lab.channel, None)
        say(flux_install.manifest(lab, chosen).rstrip("\n"))
        return
    plan, objects = flux_install.plan(lab, words(components))
    if not agreed(Plan(tuple(asking_on_foreign(lab, plan.steps)), plan.notices), yes=yes, dry_run=dry_run):
        return
    flux_install.apply(lab, plan.steps, objects)
    installed = installation.observe(lab.api)
    ready = f"Flux {installed.version} is ready: {', '.join(installed.names)}" if installed else ""
    say("\n".join((ready + ("" if plan.steps else "; nothing to do"), *plan.notices)))


@task
def check(name: ClusterName = "", json: Json = False, context: ContextName = "") -> None:
    """Check Flux: versions, resource definitions, controllers and sources. Exit 6 with the first failure."""
    from threezone.flux import check as flux_check
    from threezone.toolchain import install as tools

    lab = open_lab(name, context=context)
    tool = tools.find("flux", lab.requested_channel, lab.root)
    checks = flux_check.checks(flux_check.observe(lab.api, tool.version if tool else ""))
    data = [{"name": check.name, "ok": check.ok, "found": check.found} for check in checks]
    rows = [[check.name, yes_no(check.ok), check.found.replace("\n", " ")] for check in checks]
    ok = all(check.ok for check in checks)
    present({"ok": ok, "checks": data}, table([["CHECK", "OK", "FOUND"], *rows]), as_json=json)
    flux_check.require(checks)


@task
def status(
    name: ClusterName = "",
    tree: Annotated[bool, "show what each Kustomization and HelmRelease has brought, down to the workloads"] = False,
    json: Json = False,
    context: ContextName = "",
) -> None:
    """Show Flux's controllers and objects: ready, revision, message, age. Exit 6 when something is not ready.

    A suspended object is no failure. AGE is the time in the present state.
    """
    from threezone.flux import components, installation, status_tree
    from threezone.flux import status as states_of

    lab = open_lab(name, context=context)
    installed = installation.observe(lab.api)
    declared = states_of.observe(lab.api)
    states = [states_of.state(each) for each in declared]
    trees = status_tree.build(declared, status_tree.observe(lab.api, declared)) if tree else ()
    flux = installed or components.Flux("", ())
    data = {
        "version": flux.version or None,
        "namespace": installed.namespace if installed else None,
        "installer": installed.installer if installed else None,
        "ready": flux.ready,
        "components": [asdict(component) for component in flux.components],
        "objects": [asdict(state) for state in states],
        **({"tree": [asdict(each) for each in trees]} if tree else {}),
    }
    rows = [[part.name, yes_no(part.ready), part.image] for part in flux.components]
    shown = status_tree.rows(trees) if tree else states_of.rows(states)
    below = table(shown) if states else "nothing is declared"
    text = f"{table([['COMPONENT', 'READY', 'IMAGE'], *rows])}\n\n{below}" if rows else ""
    present(data, text, as_json=json)
    components.require(flux)
    states_of.require(states)


@task
def reconcile(
    object: Annotated[list[str], "KIND/NAME; repeatable (default: everything that is not suspended, sources first)"],
    namespace: Namespace = "",
    with_source: Annotated[bool, "reconcile the sources of the objects first"] = False,
    timeout: Timeout = 0,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Have Flux reconcile now and wait for the result; a failure is shown in Flux's words."""
    from threezone.core.errors import UsageError
    from threezone.flux import reconcile as reconciling

    lab = open_lab(name, context=context)
    ask(lab, "Flux reconciles now", yes=yes)
    every, chosen = _objects(lab, object, namespace)
    if suspended := [item.what for item in chosen if item.suspended]:
        raise UsageError(f"{', '.join(suspended)} is suspended", fix="./run invoke flux.resume --object …")
    targets = chosen if object else tuple(item for item in every if not (item.suspended or item.static))
    if with_source:
        sources = [source for target in chosen for source in reconciling.sources_of(every, target)]
        targets = tuple(item for item in every if (item in sources and not item.suspended) or item in chosen)
    _require_controllers(lab, targets)
    _say_states(reconciling.reconcile(lab.api, targets, timeout or lab.settings.gitops.timeout))


@task
def suspend(
    object: Object,
    all: Annotated[bool, "everything that Flux reconciles"] = False,
    namespace: Namespace = "",
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Suspend objects of Flux: commits change nothing, and manual changes stay, until flux.resume."""
    from threezone.flux import reconcile as reconciling

    lab = open_lab(name, context=context)
    ask(lab, "objects of Flux are suspended", yes=yes)
    every, chosen = _objects(lab, object, namespace, everything=all)
    # A HelmRelease creates its HelmChart again, so suspending the chart has no effect.
    wanted = chosen or tuple(item for item in every if not item.static and item.kind.kind != "HelmChart")
    targets = [item for item in wanted if not item.suspended]
    reconciling.suspend(lab.api, targets)
    say("\n".join(f"suspended {item.what}" for item in targets) or "nothing to do")


@task
def resume(
    object: Object,
    all: Annotated[bool, "everything that is suspended"] = False,
    namespace: Namespace = "",
    timeout: Timeout = 0,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Resume suspended objects and wait until Flux has reconciled them; a failure is shown in Flux's words."""
    from threezone.flux import reconcile as reconciling

    lab = open_lab(name, context=context)
    ask(lab, "objects of Flux are resumed", yes=yes)
    every, chosen = _objects(lab, object, namespace, everything=all)
    targets = tuple(item for item in chosen or every if item.suspended)
    if not targets:
        say("nothing to do")
        return
    _require_controllers(lab, targets)
    _say_states(reconciling.resume(lab.api, targets, timeout or lab.settings.gitops.timeout))


@task
def uninstall(
    prune: Annotated[bool, "also remove what Flux applied (default: the workloads stay)"] = False,
    keep_namespace: Annotated[bool, "keep Flux's namespace and everything else in it"] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    timeout: Timeout = 0,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Remove Flux and its objects; no finalizer keeps anything. What Flux applied stays, unless --prune.

    A question is asked where Flux or its objects are not ours, and before workloads or Secrets are removed.
    """
    from threezone.core.plan import Plan
    from threezone.flux import uninstall as removal

    lab = open_lab(name, context=context)
    flux = removal.observe(lab.api)
    plan = removal.plan(flux, prune=prune, keep_namespace=keep_namespace)
    steps = tuple(asking_on_foreign(lab, plan.steps))
    if not agreed(Plan(steps, plan.notices), yes=yes, dry_run=dry_run or not steps):
        return
    seconds = timeout or lab.settings.gitops.timeout
    removal.apply(lab.api, flux, plan.steps, prune=prune, seconds=seconds)
    workloads = "what it applied is gone too" if prune else "what it applied still runs"
    say("\n".join((f"Flux is gone; {workloads}", *plan.notices)))


def _objects(
    lab: "Lab", named: list[str], namespace: str, *, everything: bool | None = None
) -> tuple[tuple["FluxObject", ...], tuple["FluxObject", ...]]:
    """All of Flux's objects, and the named ones. With `everything` given, either names or --all is required."""
    from threezone.core.errors import UsageError
    from threezone.flux import components, objects
    from threezone.flux import reconcile as reconciling

    if everything is not None and bool(named) == everything:
        raise UsageError("name the objects, or all of them", fix="--object KIND/NAME, or --all")
    kinds = objects.discover(lab.api)
    every = objects.observe(lab.api, kinds)
    return every, reconciling.select(every, kinds, named, namespace or components.NAMESPACE)


def _require_controllers(lab: "Lab", targets: Sequence["FluxObject"]) -> None:
    """Raise unless the controllers of these objects are ready."""
    from threezone.flux import installation
    from threezone.flux import reconcile as reconciling

    reconciling.require_controllers(installation.observe(lab.api), [item.kind for item in targets])


def _say_states(done: Sequence["FluxObject"]) -> None:
    from threezone.flux import status as states_of

    say(table(states_of.rows([states_of.state(item) for item in done])) if done else "nothing to do")
