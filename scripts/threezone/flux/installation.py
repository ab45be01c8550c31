"""Find out which Flux is installed, where and by whom, and plan an installation. Others' are changed after a yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Json
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.plan import Plan, Step, StepKind
from threezone.core.versions import parse
from threezone.flux import components as flux
from threezone.flux.components import Flux
from threezone.flux.manifests import COLLECTIONS, MANAGER, Change, version_of
from threezone.flux.objects import HELM, KUSTOMIZE

OURS = "threezone"
EVERYWHERE = "/apis/apps/v1/deployments"
# The definition by which `flux` itself finds out whether there is a Flux (flux2, cmd/flux/cluster_info.go).
DEFINITION = f"{COLLECTIONS['CustomResourceDefinition']}/gitrepositories.source.toolkit.fluxcd.io"

# Optional components of the release channel (flux2, pkg/manifestgen/install/options.go).
RELEASE_EXTRAS = ("image-reflector-controller", "image-automation-controller", "source-watcher")
AVAILABLE = {"release": (*flux.RELEASE_COMPONENTS, *RELEASE_EXTRAS), "source": flux.SOURCE_COMPONENTS}
DEFAULT = {"release": flux.RELEASE_COMPONENTS, "source": flux.SOURCE_COMPONENTS}

# Managers that write a whole object without server-side apply. Others (kubectl edit, kubectl scale) only touch it.
WHOLE = {"helm", "kubectl-client-side-apply", "kubectl-create"}


@dataclass(frozen=True)
class Installation(Flux):
    """One Flux with its namespace, and who installed it (`threezone`: we did).

    Without components only its resource definitions exist, such as after an interrupted uninstall.
    """

    namespace: str
    installer: str

    @property
    def ours(self) -> bool:
        """Whether we installed it and nobody has applied another one over it."""
        return self.installer == OURS


def observe(api: Api) -> Installation | None:
    """The Flux of the cluster, or None. Raises DeliveryError when there are several: nobody can tell which is meant."""
    installed = read((api.get(EVERYWHERE, labelSelector=flux.LABELLED) or {}).get("items") or [])
    if len(installed) > 1:
        raise DeliveryError(
            "Flux is installed in more than one namespace, and all of them reconcile the same objects",
            evidence="\n".join(f"{one.namespace}: {one.version}, installed by {one.installer}" for one in installed),
            fix="flux uninstall --keep-namespace --namespace=… in all but one of them",
        )
    if installed:
        return installed[0]
    definition = api.get(DEFINITION)
    return Installation(version_of(definition), (), "", installer(definition)) if definition else None


def read(deployments: Sequence[Json]) -> tuple[Installation, ...]:
    """Every Flux among the Deployments with Flux's label, by namespace. Pure."""
    by_namespace: dict[str, list[Json]] = {}
    for deployment in deployments:
        by_namespace.setdefault(str(deployment["metadata"]["namespace"]), []).append(deployment)
    installed = []
    for namespace, members in sorted(by_namespace.items()):
        observed = flux.read(members)
        installed.append(Installation(observed.version, observed.components, namespace, installers(members)))
    return tuple(installed)


def installers(items: Sequence[Json]) -> str:
    """Who installed these objects of one Flux: others by name, or `threezone`. Pure."""
    return ", ".join(sorted({installer(item) for item in items} - {OURS})) or OURS


def installer(item: Json) -> str:
    """Who installed an object of Flux, by its labels and field managers: `threezone`, or words for others. Pure.

    Bootstrapped objects carry kustomize-controller's labels (as `flux install` itself finds out), Helm's and the
    operator's their own. Otherwise it is whoever applied the whole object last.
    """
    labels = item["metadata"].get("labels") or {}
    for group, kind in ((KUSTOMIZE, "Kustomization"), (HELM, "HelmRelease")):
        if name := labels.get(f"{group}/name"):
            return f"flux bootstrap or GitOps ({kind} {labels.get(f'{group}/namespace', '')}/{name})"
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


def choose(asked: Sequence[str], channel: str, installed: Installation | None) -> tuple[str, ...]:
    """The components to install, in the channel's order. Pure. Raises UsageError for what the channel does not have.

    Running ones always stay: nobody would delete the objects of a removed controller.
    """
    available = AVAILABLE[channel]
    if strange := [name for name in asked if name not in available]:
        raise UsageError(
            f"the {channel} channel has no component {strange[0]}", fix=f"choose from {', '.join(available)}"
        )
    running = installed.names if installed else ()
    wanted = set(asked) or (set() if set(flux.REQUIRED) <= set(running) else set(DEFAULT[channel]))
    return tuple(name for name in available if name in wanted or name in running)


def require_version(asked: str, pinned: str, channel: str) -> None:
    """Raise UsageError for another version than the one that the settings or the pins choose. Pure."""
    if asked and asked.removeprefix("v") != pinned:
        raise UsageError(
            f"Flux {asked} is not available: the {channel} channel has v{pinned}",
            fix=f'set threezone.flux.version: "{asked.removeprefix("v")}" in invoke.yaml (docs/versions.md)',
        )


def plan(
    installed: Installation | None, namespace: str, version: str, components: Sequence[str], changes: Sequence[Change]
) -> Plan:
    """The plan to install Flux `version` with `components` in `namespace`, given what an apply would change. Pure.

    Empty where nothing would change. Raises DeliveryError where another namespace has a Flux.
    """
    command = f"flux install --namespace={namespace} --components={','.join(components)}"
    wait = Step(StepKind.WAIT_FOR_FLUX, "wait until its controllers serve")
    if installed is None:
        return Plan((Step(StepKind.INSTALL_FLUX, f"install Flux {version}: {', '.join(components)}", command), wait))
    if installed.namespace not in ("", namespace):
        raise DeliveryError(
            f"Flux {installed.version} runs in the namespace {installed.namespace} already; "
            "two would reconcile the same objects",
            evidence=f"installed by {installed.installer}: {', '.join(installed.names)}",
            fix="use that one, or ./run invoke flux.uninstall first",
        )
    extra = [name for name in installed.names if name not in components]
    notices = [f"{', '.join(extra)} stays at {installed.version}: this channel does not have it"] if extra else []
    if not changes:
        if not installed.ours:
            notices.append(f"this Flux was installed by {installed.installer}; it is not changed")
        return Plan((wait,) if installed.down else (), tuple(notices))
    sentence = _sentence(installed, version, components, changes)
    asks = not installed.ours or parse(version) < parse(installed.version)
    return Plan((Step(StepKind.INSTALL_FLUX, sentence, command, asks), wait), tuple(notices))


def _sentence(installed: Installation, version: str, components: Sequence[str], changes: Sequence[Change]) -> str:
    before = installed.version
    if not installed.ours:
        back = " (which may put its own back)" if installed.components else ""
        return f"replace Flux {before}, installed by {installed.installer}{back}, by {version} of ours"
    if not installed.components:
        return f"install Flux {version} over the resource definitions left from {before}: {', '.join(components)}"
    if before != version:
        return change(before, version)
    if added := [name for name in components if name not in installed.names]:
        return f"add {', '.join(added)} to Flux {version}"
    return f"put back what differs from Flux {version}: {', '.join(change.what for change in changes)}"


def change(before: str, version: str) -> str:
    """The sentence of the step from one version of Flux to another. Pure."""
    verb = "downgrade" if parse(version) < parse(before) else "upgrade"
    return f"{verb} Flux from {before} to {version}"
