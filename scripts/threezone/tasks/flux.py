"""flux.*: Flux in the cluster."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invoke import Context

from threezone.tasks.lab import CHANNEL, CONTEXT, NAME, YES, ask, elsewhere, open_lab
from threezone.tasks.runtime import as_started, consent, emit, say, table, task

if TYPE_CHECKING:
    from threezone.flux.objects import FluxObject

OBJECT = "KIND/NAME, such as kustomization/lab; repeatable"
NAMESPACE = "the objects' namespace (default: flux-system)"
TIMEOUT = "seconds for one kind of object (default: threezone.gitops.timeout in invoke.yaml)"
DRY_RUN = "print the plan and change nothing"


@task(
    help={
        "components": "comma-separated (default: those that run, else all that the channel has); none is taken away",
        "flux-version": "refuse when it is not this one (the version is pinned: pins.toml)",
        "export": "print the manifests, to commit them, and change nothing; needs no cluster",
        "dry-run": DRY_RUN,
        "yes": "answer yes: replace a Flux that somebody else installed, or a newer one",
        "name": NAME,
        "channel": CHANNEL,
        "context": CONTEXT,
    }
)
def install(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    components: str = "",
    flux_version: str = "",
    export: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    name: str = "",
    channel: str = "",
    context: str = "",
) -> None:
    """Install or upgrade Flux in place and wait for it; a pod that cannot start is told at once. Safe to repeat.

    A Flux of others (bootstrap, Helm, flux install) is never changed without a question, nor is a second one installed.
    """
    from threezone.clients import flux as flux_cli
    from threezone.core import pins
    from threezone.core.plan import describe
    from threezone.flux import components as flux
    from threezone.flux import install as flux_install
    from threezone.flux import installation, manifests

    lab = open_lab(name, channel, context)
    installation.require_version(flux_version, pins.tools(lab.root).flux.version, lab.channel)
    asked = [each.strip() for each in components.split(",") if each.strip()]
    if export:
        chosen = installation.choose(asked, lab.channel, None)
        say(manifests.impatient(flux_cli.export(lab.tools["flux"], chosen, flux.NAMESPACE)).rstrip("\n"))
        return
    plan, objects = flux_install.plan(lab, asked)
    if dry_run:
        say(as_started("\n".join((describe(plan.steps), *plan.notices))))
        return
    consent(elsewhere(lab, plan.steps), yes=yes)
    flux_install.apply(lab, plan.steps, objects)
    seen = installation.observe(lab.api)
    ready = f"Flux {seen.version} is ready: {', '.join(seen.names)}" if seen else ""
    say(as_started("\n".join((ready + ("" if plan.steps else "; nothing to do"), *plan.notices))))


@task(help={"name": NAME, "json": "print the checks as JSON", "context": CONTEXT})
def check(c: Context, name: str = "", json: bool = False, context: str = "") -> None:
    """Check what Flux stands on, its definitions, controllers and sources. Exit 6 with the first reason."""
    from threezone.flux import check as flux_check
    from threezone.toolchain import install as tools

    lab = open_lab(name, context=context)
    tool = tools.find("flux", lab.requested_channel, lab.root)
    made = flux_check.checks(flux_check.observe(lab.api, tool.version if tool else ""))
    if json:
        shown = [{"name": each.name, "ok": each.ok, "found": each.found} for each in made]
        emit({"ok": all(each.ok for each in made), "checks": shown})
    else:
        rows = [["CHECK", "OK", "FOUND"]]
        rows.extend([each.name, "yes" if each.ok else "no", each.found.replace("\n", " ")] for each in made)
        say(table(rows))
    flux_check.require(made)


@task(help={"name": NAME, "json": "print the observation as JSON", "context": CONTEXT})
def status(c: Context, name: str = "", json: bool = False, context: str = "") -> None:
    """Show Flux's controllers and objects: ready, revision, message, age. Exit 6 when something is not as it should be.

    A suspended object is as it should be. The age is that of its present state.
    """
    from threezone.flux import components as flux
    from threezone.flux import installation, objects
    from threezone.flux import status as flux_status

    lab = open_lab(name, context=context)
    installed = installation.observe(lab.api)
    states = [flux_status.state(each) for each in objects.observe(lab.api)]
    looked = installed or flux.Flux("", ())
    if json:
        emit(
            {
                "version": looked.version or None,
                "namespace": installed.namespace if installed else None,
                "installer": installed.installer if installed else None,
                "ready": looked.ready,
                "components": [asdict(component) for component in looked.components],
                "objects": [asdict(each) for each in states],
            }
        )
    elif looked.components:
        rows = [["COMPONENT", "READY", "IMAGE"]]
        rows.extend([part.name, "yes" if part.ready else "no", part.image] for part in looked.components)
        say(table(rows))
        say("\n" + (table(flux_status.rows(states)) if states else "nothing is declared"))
    flux.require(looked)
    flux_status.require(states)


@task(
    iterable=["object"],
    help={
        "object": OBJECT + " (default: everything that is not suspended, sources first)",
        "namespace": NAMESPACE,
        "with-source": "reconcile what the objects read from first",
        "timeout": TIMEOUT,
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    },
)
def reconcile(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    object: list[str],  # noqa: A002  the option's name
    namespace: str = "",
    with_source: bool = False,
    timeout: int = 0,
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Have Flux reconcile now, and watch until it has: done, or the failure in Flux's words."""
    from threezone.core.errors import UsageError
    from threezone.flux import reconcile as flux_reconcile

    lab = open_lab(name, context=context)
    ask(lab, "Flux reconciles now", yes=yes)
    found, chosen = _chosen(lab, object, namespace)
    if suspended := [each.what for each in chosen if each.suspended]:
        raise UsageError(f"{', '.join(suspended)} is suspended", fix="./run invoke flux.resume --object …")
    targets = chosen if object else tuple(each for each in found if not (each.suspended or each.static))
    if with_source:
        sources = [each for target in chosen for each in flux_reconcile.sources_of(found, target)]
        targets = tuple(each for each in found if (each in sources and not each.suspended) or each in chosen)
    _tell(flux_reconcile.reconcile(lab.api, _served(lab, targets), timeout or lab.settings.gitops.timeout))


@task(
    iterable=["object"],
    help={
        "object": OBJECT,
        "all": "all that Flux reconciles",
        "namespace": NAMESPACE,
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    },
)
def suspend(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    object: list[str],  # noqa: A002  the option's name
    all: bool = False,  # noqa: A002  the option's name
    namespace: str = "",
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Suspend objects of Flux: commits move nothing, and manual changes stay, until flux.resume."""
    from threezone.flux import reconcile as flux_reconcile

    lab = open_lab(name, context=context)
    ask(lab, "objects of Flux are suspended", yes=yes)
    found, chosen = _chosen(lab, object, namespace, every=all)
    # A HelmRelease makes its HelmChart anew as it likes it: to suspend that one says nothing.
    wanted = chosen or tuple(each for each in found if not each.static and each.kind.kind != "HelmChart")
    targets = [each for each in wanted if not each.suspended]
    flux_reconcile.suspend(lab.api, targets)
    say("\n".join(f"suspended {each.what}" for each in targets) or "nothing to do")


@task(
    iterable=["object"],
    help={
        "object": OBJECT,
        "all": "all that is suspended",
        "namespace": NAMESPACE,
        "timeout": TIMEOUT,
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    },
)
def resume(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    object: list[str],  # noqa: A002  the option's name
    all: bool = False,  # noqa: A002  the option's name
    namespace: str = "",
    timeout: int = 0,
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Resume suspended objects and watch until Flux has reconciled them: done, or the failure in Flux's words."""
    from threezone.flux import reconcile as flux_reconcile

    lab = open_lab(name, context=context)
    ask(lab, "objects of Flux are resumed", yes=yes)
    found, chosen = _chosen(lab, object, namespace, every=all)
    targets = tuple(each for each in chosen or found if each.suspended)
    if not targets:
        say("nothing to do")
        return
    _tell(flux_reconcile.resume(lab.api, _served(lab, targets), timeout or lab.settings.gitops.timeout))


@task(
    help={
        "prune": "take away what Flux applied, too (default: the workloads stay)",
        "keep-namespace": "leave Flux's namespace and what else is in it",
        "dry-run": DRY_RUN,
        "yes": "answer yes to the question",
        "timeout": TIMEOUT,
        "name": NAME,
        "context": CONTEXT,
    }
)
def uninstall(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    prune: bool = False,
    keep_namespace: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    timeout: int = 0,
    name: str = "",
    context: str = "",
) -> None:
    """Remove Flux and its objects, in the order in which nothing hangs. What Flux applied stays, unless --prune.

    A question is asked where Flux or its objects are not ours, and before workloads or Secrets go.
    """
    from threezone.core.plan import describe
    from threezone.flux import uninstall as flux_uninstall

    lab = open_lab(name, context=context)
    seen = flux_uninstall.observe(lab.api)
    plan = flux_uninstall.plan(seen, prune=prune, keep_namespace=keep_namespace)
    if dry_run or not plan.steps:
        say(as_started("\n".join((describe(plan.steps), *plan.notices))))
        return
    consent(elsewhere(lab, plan.steps), yes=yes)
    seconds = timeout or lab.settings.gitops.timeout
    flux_uninstall.apply(lab.api, seen, plan.steps, prune=prune, seconds=seconds)
    workloads = "what it applied is gone too" if prune else "what it applied runs on"
    say(as_started("\n".join((f"Flux is gone; {workloads}", *plan.notices))))


def _chosen(
    lab: Any, asked: list[str], namespace: str, *, every: bool | None = None
) -> tuple[tuple[FluxObject, ...], tuple[FluxObject, ...]]:
    """All of Flux's objects, and those asked for by name. With `every` given, one of both has to be said."""
    from threezone.core.errors import UsageError
    from threezone.flux import components as flux
    from threezone.flux import objects as flux_objects
    from threezone.flux import reconcile as flux_reconcile

    if every is not None and bool(asked) == every:
        raise UsageError("name the objects, or all of them", fix="--object KIND/NAME, or --all")
    known = flux_objects.discover(lab.api)
    found = flux_objects.observe(lab.api, known)
    return found, flux_reconcile.select(found, known, asked, namespace or flux.NAMESPACE)


def _served(lab: Any, targets: tuple[FluxObject, ...]) -> tuple[FluxObject, ...]:
    """The same objects, when the controllers that answer for them serve."""
    from threezone.flux import installation
    from threezone.flux import reconcile as flux_reconcile

    flux_reconcile.require_controllers(installation.observe(lab.api), [each.kind for each in targets])
    return targets


def _tell(done: tuple[FluxObject, ...]) -> None:
    from threezone.flux import status as flux_status

    say(table(flux_status.rows([flux_status.state(each) for each in done])) if done else "nothing to do")
