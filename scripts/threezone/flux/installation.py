"""Who installed which Flux where, and what is to be done about it. What is not ours is changed only after a yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Json
from threezone.core import versions
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.plan import Plan, Step, StepKind
from threezone.flux import components as flux
from threezone.flux.components import Component
from threezone.flux.manifests import MANAGER, PLACES, Change

OURS = "threezone"
EVERYWHERE = "/apis/apps/v1/deployments"
# The definition by which `flux` itself finds out whether there is a Flux (flux2, cmd/flux/cluster_info.go).
DEFINITION = f"{PLACES['CustomResourceDefinition']}/gitrepositories.source.toolkit.fluxcd.io"

# What can be asked for beside the defaults of the release channel (flux2, pkg/manifestgen/install/options.go).
RELEASE_EXTRAS = ("image-reflector-controller", "image-automation-controller", "source-watcher")
AVAILABLE = {"release": (*flux.RELEASE_COMPONENTS, *RELEASE_EXTRAS), "source": flux.SOURCE_COMPONENTS}
DEFAULT = {"release": flux.RELEASE_COMPONENTS, "source": flux.SOURCE_COMPONENTS}

# Managers that write a whole object without server-side apply. Others (kubectl edit, kubectl scale) only touch it.
WHOLE = {"helm", "kubectl-client-side-apply", "kubectl-create"}


@dataclass(frozen=True)
class Installation:
    """One Flux: its namespace, release version, components, and who installed it (`threezone`: we did).

    Without components only its resource definitions are there: an uninstall stopped half way, or they are somebody's.
    """

    namespace: str
    version: str
    components: tuple[Component, ...]
    installer: str

    @property
    def ours(self) -> bool:
        """Whether we installed it and nobody has applied another one over it."""
        return self.installer == OURS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its controllers."""
        return tuple(component.name for component in self.components)

    @property
    def down(self) -> tuple[str, ...]:
        """The names of its controllers that do not serve."""
        return tuple(component.name for component in self.components if not component.ready)


def observe(api: Api) -> Installation | None:
    """The Flux of the cluster, or None. Raises DeliveryError when there are several: nobody can tell which is meant."""
    found = read((api.get(EVERYWHERE, labelSelector=flux.LABELLED) or {}).get("items") or [])
    if len(found) > 1:
        raise DeliveryError(
            "Flux is installed in more than one namespace, and all of them reconcile the same objects",
            evidence="\n".join(f"{each.namespace}: {each.version}, installed by {each.installer}" for each in found),
            fix="flux uninstall --keep-namespace --namespace=… in all but one of them",
        )
    if found:
        return found[0]
    definition = api.get(DEFINITION)
    return Installation("", _version(definition), (), installer(definition)) if definition else None


def read(deployments: Sequence[Json]) -> tuple[Installation, ...]:
    """Every Flux among the Deployments with Flux's label, by namespace. Pure."""
    namespaces = sorted({str(each["metadata"]["namespace"]) for each in deployments})
    return tuple(_one(name, [d for d in deployments if d["metadata"]["namespace"] == name]) for name in namespaces)


def _one(namespace: str, deployments: Sequence[Json]) -> Installation:
    seen = flux.read(deployments)
    installers = sorted({installer(each) for each in deployments})
    foreign = [name for name in installers if name != OURS]
    return Installation(namespace, seen.version, seen.components, ", ".join(foreign) or OURS)


def installer(item: Json) -> str:
    """Who installed an object of Flux, told by its labels and field managers: `threezone`, or words for others. Pure.

    Bootstrapped objects carry kustomize-controller's labels (as `flux install` itself tells them), Helm's and the
    operator's their own. Otherwise it is whoever applied the whole object last.
    """
    labels = item["metadata"].get("labels") or {}
    for group, what in (("kustomize.toolkit.fluxcd.io", "Kustomization"), ("helm.toolkit.fluxcd.io", "HelmRelease")):
        if name := labels.get(f"{group}/name"):
            return f"flux bootstrap or GitOps ({what} {labels.get(f'{group}/namespace', '')}/{name})"
    if name := labels.get("fluxcd.controlplane.io/name"):
        return f"flux-operator (FluxInstance {name})"
    if (manager := labels.get("app.kubernetes.io/managed-by")) and manager != "flux":
        return str(manager)
    entries = [entry for entry in item["metadata"].get("managedFields") or [] if not entry.get("subresource")]
    appliers = [entry for entry in entries if entry.get("operation") == "Apply" or entry.get("manager") in WHOLE]
    if not appliers:
        return ", ".join(sorted({str(entry.get("manager")) for entry in entries})) or "somebody"
    last = max(appliers, key=lambda entry: (str(entry.get("time", "")), entry.get("manager") == MANAGER))
    return OURS if last.get("manager") == MANAGER else str(last.get("manager"))


def _version(item: Json) -> str:
    return str((item["metadata"].get("labels") or {}).get("app.kubernetes.io/version", ""))


def choose(asked: Sequence[str], channel: str, seen: Installation | None) -> tuple[str, ...]:
    """The components to install, in the channel's order. Pure. Raises UsageError for what the channel has not.

    Those that run stay, whatever is asked for: objects of a removed controller would never go (uninstall takes all).
    """
    available = AVAILABLE[channel]
    if strange := [name for name in asked if name not in available]:
        raise UsageError(
            f"the {channel} channel has no component {strange[0]}", fix=f"choose from {', '.join(available)}"
        )
    running = seen.names if seen else ()
    wanted = set(asked) or (set() if set(flux.REQUIRED) <= set(running) else set(DEFAULT[channel]))
    return tuple(name for name in available if name in wanted or name in running)


def require_version(asked: str, pinned: str, channel: str) -> None:
    """Refuse a version that cannot be had. Pure. Raises UsageError: versions and checksums are pinned in one file."""
    if asked and asked.removeprefix("v") != pinned:
        raise UsageError(
            f"Flux {asked} is not to be had: the {channel} channel has v{pinned}",
            fix="pin another version with its checksums in local/pins.toml: tools.flux, and images.flux to build it",
        )


def plan(
    seen: Installation | None, namespace: str, version: str, components: Sequence[str], changes: Sequence[Change]
) -> Plan:
    """What brings Flux `version` with `components` into `namespace`, given what an apply would change. Pure.

    Nothing where nothing would change. Raises DeliveryError where another namespace has a Flux: two would fight.
    """
    command = f"flux install --namespace={namespace} --components={','.join(components)}"
    if seen is None:
        return Plan((Step(StepKind.INSTALL_FLUX, f"install Flux {version}: {', '.join(components)}", command), _wait()))
    if seen.namespace not in ("", namespace):
        raise DeliveryError(
            f"Flux {seen.version} runs in the namespace {seen.namespace} already; two would reconcile the same objects",
            evidence=f"installed by {seen.installer}: {', '.join(seen.names)}",
            fix="use that one, or ./run invoke flux.uninstall first",
        )
    left = [name for name in seen.names if name not in components]
    notices = [f"{', '.join(left)} stays at {seen.version}: this channel does not have it"] if left else []
    if not changes:
        if not seen.ours:
            notices.append(f"this Flux was installed by {seen.installer}; it is left alone")
        return Plan((_wait(),) if seen.down else (), tuple(notices))
    sentence = _sentence(seen, version, components, changes)
    asks = not seen.ours or versions.parse(version) < versions.parse(seen.version)
    return Plan((Step(StepKind.INSTALL_FLUX, sentence, command, asks), _wait()), tuple(notices))


def _wait() -> Step:
    return Step(StepKind.WAIT_FOR_FLUX, "wait until its controllers serve")


def _sentence(seen: Installation, version: str, components: Sequence[str], changes: Sequence[Change]) -> str:
    if not seen.ours:
        back = " (which may put its own back)" if seen.components else ""
        return f"replace Flux {seen.version}, installed by {seen.installer}{back}, by {version} of ours"
    if not seen.components:
        return f"install Flux {version} over the resource definitions left from {seen.version}: {', '.join(components)}"
    if seen.version != version:
        verb = "downgrade" if versions.parse(version) < versions.parse(seen.version) else "upgrade"
        return f"{verb} Flux from {seen.version} to {version}"
    added = [name for name in components if name not in seen.names]
    if added:
        return f"add {', '.join(added)} to Flux {version}"
    return f"put back what differs from Flux {version}: {', '.join(change.what for change in changes)}"
