"""Rows about Flux and what it delivers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import condition
from threezone.core.plan import Step, StepKind
from threezone.doctor.catalogue.cluster import NO_CLUSTER
from threezone.doctor.catalogue.engine import DOWN
from threezone.doctor.catalogue.kubeconfig import NO_FILE
from threezone.doctor.catalogue.nodes import NODES_DOWN, PARTS_DOWN, deployment, scale
from threezone.doctor.catalogue.workloads import PODS_DOWN
from threezone.doctor.facts import Facts, Json
from threezone.doctor.row import Evidence, Row, when
from threezone.flux import components, installation
from threezone.flux.objects import SOURCES, FluxObject, condition_text, is_ready, is_stalled

STATUS = "./run invoke flux.status"
INSTALL = "./run invoke flux.install"
FLUX = "https://fluxcd.io/flux/"
FETCHERS = (*SOURCES, "HelmChart")
AUTHENTICATION = r"authentication required|invalid credentials|authorization failed|401|403 Forbidden|permission denied"
UNREACHABLE = r"dial tcp|no such host|i/o timeout|connection refused|no route to host|context deadline exceeded|EOF"
SCHEME = r"scheme \S* is not supported"
BRANCH = r"couldn't find remote ref|reference not found|unable to resolve"
CRD = r"no matches for kind|ensure CRDs are installed first"
BUILD = r"kustomization path not found|kustomize build failed|no such file or directory|malformed"
DECRYPT = r"sops data key|failed to decrypt"
KNOWN = f"{AUTHENTICATION}|{UNREACHABLE}|{SCHEME}|{BRANCH}"
MOST = 3  # objects in the evidence


def _flux(facts: Facts) -> tuple[installation.Installation, ...]:
    listed = facts.world.deployments if facts.world else ()
    return installation.read(list(filter(components.is_part, listed)))


def _unknown(facts: Facts) -> Evidence | None:
    named = "world" in facts.silent or "world" in facts.failed
    asked = facts.route is not None or facts.engine is not None
    return when(facts.world is None and asked and not named, "the API server does not answer")


def _absent(facts: Facts) -> Evidence | None:
    if facts.world is None or _flux(facts):
        return None
    if facts.world.flux_definitions:
        return Evidence(("Flux's resource definitions exist, and none of its controllers",), steps=_install(facts))
    return Evidence(("there is no Deployment of Flux",), steps=_install(facts))


def _install(facts: Facts) -> tuple[Step, ...]:
    command = INSTALL + facts.subject.option
    return (Step(StepKind.INSTALL_FLUX, "install Flux again", command, asks=True),)


def _twice(facts: Facts) -> Evidence | None:
    found = _flux(facts)
    return when(len(found) > 1, *(f"{one.namespace}: {one.version}, installed by {one.installer}" for one in found))


def _zero(facts: Facts) -> Evidence | None:
    steps: list[Step] = []
    for one in _flux(facts):
        for name in one.down:
            item, zero, _ = deployment(facts, one.namespace, name)
            steps += scale(facts, one.namespace, name) if item and zero else ()
    lines = [f"Deployment {step.target.partition('=')[0]} has no replicas" for step in steps]
    return when(steps, *lines, fix="\n".join(step.command for step in steps), steps=tuple(steps))


def _controller(facts: Facts) -> Evidence | None:
    lines = []
    for one in _flux(facts):
        for name in one.down:
            item, zero, _ = deployment(facts, one.namespace, name)
            if item is None or zero:
                continue
            own = [pod for pod in (facts.world.pods if facts.world else ()) if _is_of(pod, one.namespace, name)]
            why = "; ".join(filter(None, map(pods.problem, own))) or "no pod is ready"
            lines.append(f"{one.namespace}/{name}: {why}"[:300])
    return when(lines, *lines)


def _is_of(pod: Json, namespace: str, app: str) -> bool:
    meta = pod["metadata"]
    return bool(meta["namespace"] == namespace and (meta.get("labels") or {}).get("app") == app)


def objects(facts: Facts, *kinds: str) -> Iterator[FluxObject]:
    """Flux's objects that somebody reconciles and nobody has suspended."""
    for one in facts.world.flux if facts.world else ():
        deleted = one.item["metadata"].get("deletionTimestamp")
        if not one.static and not one.suspended and not deleted and (not kinds or one.kind.kind in kinds):
            yield one


def _message(one: FluxObject) -> str:
    return condition_text(condition(one.item, "Ready"))


def _evidence(found: list[FluxObject], fix: str = "") -> Evidence | None:
    lines = [f"{one.what}: {_message(one)[:300]}" for one in found[:MOST]]
    more = [f"and {len(found) - MOST} more"] if found[MOST:] else []
    return when(found, *lines, *more, fix=fix)


def _reconcile(facts: Facts, one: FluxObject) -> str:
    where = f"--object {one.kind.kind.lower()}/{one.name} --namespace {one.namespace} --with-source"
    return f"./run invoke flux.reconcile {where}{facts.subject.option}"


def _suspended(facts: Facts) -> Evidence | None:
    found = [one for one in (facts.world.flux if facts.world else ()) if one.suspended]
    names = " ".join(f"--object {one.kind.kind.lower()}/{one.name}" for one in found)
    namespaces = {one.namespace for one in found}
    place = f" --namespace {next(iter(namespaces))}" if len(namespaces) == 1 else ""
    command = f"./run invoke flux.resume {names}{place}{facts.subject.option}"
    target = " ".join(one.path for one in found)
    step = Step(
        StepKind.RESUME_OBJECTS, f"resume {', '.join(one.what for one in found)}", command, asks=True, target=target
    )
    return when(found, *(f"{one.what} is suspended" for one in found[:MOST]), fix=command, steps=(step,))


def _stalled(facts: Facts) -> Evidence | None:
    found = [one for one in objects(facts) if is_stalled(one.item) and not re.search(SCHEME, _message(one))]
    return _evidence(found)


def _failing(pattern: str, *kinds: str, unless: str = "") -> Callable[[Facts], Evidence | None]:
    """Detect objects of these kinds that are not ready, with a message that fits `pattern` and not `unless`."""

    def detect(facts: Facts) -> Evidence | None:
        found = [
            one
            for one in objects(facts, *kinds)
            if not is_ready(one.item)
            and not (is_stalled(one.item) and not pattern)
            and condition(one.item, "Ready").get("status") == "False"
            and re.search(pattern, _message(one), re.IGNORECASE)
            and not (unless and re.search(unless, _message(one), re.IGNORECASE))
        ]
        return _evidence(found, _reconcile(facts, found[0]) if found else "")

    return detect


def _terminating(facts: Facts) -> Evidence | None:
    lines = [
        f"namespace {item['metadata']['name']}: {condition(item, 'NamespaceContentRemaining').get('message', '')}"
        for item in (facts.world.namespaces if facts.world else ())
        if item["metadata"].get("deletionTimestamp")
    ]
    lines += [
        f"{one.what} waits for {', '.join(one.item['metadata'].get('finalizers') or ['its end'])}"
        for one in (facts.world.flux if facts.world else ())
        if one.item["metadata"].get("deletionTimestamp")
    ]
    return when(lines, *lines[:MOST])


CAUSES = (*NODES_DOWN, *PARTS_DOWN, "flux-scaled-to-zero", "flux-controller-down")
ROWS = (
    Row(
        "flux-unknown", "delivery", "nobody knows the state of Flux", "Unable to connect to the server",
        "Flux's objects are in the cluster, and the API server does not answer.", "./run invoke status", FLUX,
        "the API server was not reached", because_of=(*DOWN, *NO_CLUSTER, *NO_FILE), detect=_unknown,
    ),
    Row(
        "flux-missing", "delivery", "Flux is not installed in the cluster",
        'no matches for kind "Kustomization" in version "kustomize.toolkit.fluxcd.io/v1"; namespaces "flux-system" not '
        "found",
        "Flux was never installed there, or an uninstall was interrupted.", INSTALL, "flux2#3678",
        "no Deployment has Flux's label", "asks", r'namespaces? "flux-system" not found', detect=_absent,
    ),
    Row(
        "flux-twice", "delivery", "Flux is installed more than once",
        "Flux is installed in more than one namespace", "All of them reconcile the same objects, against each other.",
        "flux uninstall --keep-namespace --namespace=… in all but one of them", f"{FLUX}installation/",
        "Deployments with Flux's label in several namespaces", detect=_twice,
    ),
    Row(
        "flux-scaled-to-zero", "delivery", "controllers of Flux are scaled to zero",
        "deployment source-controller: 0/0 replicas", "Somebody, or an interrupted installation, has scaled them down.",
        "kubectl -n flux-system scale deployment NAME --replicas=1", f"{FLUX}components/",
        "Deployments with Flux's label", "safe", detect=_zero,
    ),
    Row(
        "flux-controller-down", "delivery", "a controller of Flux does not serve",
        "source-controller: deployment not ready; install failed: timed out waiting for the condition",
        "Its pod cannot start, or crashes: the pod's message has the reason.", f"./run invoke flux.check; {INSTALL}",
        f"{FLUX}components/", "Deployments with Flux's label, and their pods", words=r"deployment not ready",
        because_of=(*NODES_DOWN, *PARTS_DOWN, *PODS_DOWN), detect=_controller,
    ),
    Row(
        "flux-suspended", "delivery", "objects of Flux are suspended", "SUSPENDED True",
        "Somebody has suspended them: commits change nothing until they are resumed.",
        "./run invoke flux.resume --all", "https://fluxcd.io/flux/cmd/flux_resume/", "spec.suspend of Flux's objects",
        "asks", detect=_suspended,
    ),
    Row(
        "source-authentication", "delivery", "a source does not accept Flux's credentials",
        "failed to checkout and determine revision: unable to clone: authentication required",
        "The Secret that the source names is missing, or its password or key is wrong.",
        "correct the Secret of spec.secretRef, then ./run invoke flux.reconcile",
        f"{FLUX}components/source/gitrepositories/#secret-reference",
        "the source's Ready condition", words=r"authentication required|could not read Username|secrets? \S+ not found",
        because_of=("git-password-lost",), detect=_failing(AUTHENTICATION + r"|secrets? \S+ not found", *FETCHERS),
    ),
    Row(
        "source-scheme", "delivery", "a source's address is no address that Flux can fetch",
        'scheme "" is not supported', "Flux fetches over http, https or ssh; a path of a machine is none of them.",
        "serve the repository: ./run invoke gitops.serve; or correct spec.url", "https://github.com/fluxcd/flux2/issues",
        "the source's Ready condition", words=SCHEME, detect=_failing(SCHEME, *FETCHERS),
    ),
    Row(
        "source-reference", "delivery", "the branch, tag or chart of a source does not exist",
        "failed to checkout and determine revision: couldn't find remote ref \"refs/heads/main\"",
        "Nothing was pushed to that branch, or its name is wrong.", "./run invoke gitops.push; or correct spec.ref",
        f"{FLUX}components/source/gitrepositories/#reference", "the source's Ready condition",
        words=r"couldn.t find remote ref", because_of=("git-server-down",), detect=_failing(BRANCH, *FETCHERS),
    ),
    Row(
        "source-unreachable", "delivery", "Flux cannot reach a source",
        "failed to checkout and determine revision: unable to clone: dial tcp: lookup … i/o timeout",
        "The name cannot be resolved in the cluster, or nothing answers there.",
        "check spec.url; ./run invoke flux.reconcile", f"{FLUX}components/source/gitrepositories/",
        "the source's Ready condition", words=r"unable to clone.*(dial tcp|no such host|timeout)",
        because_of=(*CAUSES, "git-server-down", "docker-container-proxies", "conntrack-full"),
        detect=_failing(UNREACHABLE, *FETCHERS, unless=AUTHENTICATION),
    ),
    Row(
        "source-failed", "delivery", "a source of Flux is not ready", "ArtifactFailed; ChartPullError",
        "Flux's own message has the reason.", STATUS, f"{FLUX}components/source/", "the source's Ready condition",
        because_of=(*CAUSES, "git-server-down"), detect=_failing("", *FETCHERS, unless=KNOWN),
    ),
    Row(
        "crd-missing", "delivery", "a commit uses a kind that the cluster does not have",
        'no matches for kind "ServiceMonitor" in version "monitoring.coreos.com/v1": ensure CRDs are installed first',
        "The resource definition comes later, or in the same Kustomization.",
        "put it into a Kustomization of its own, and name that in dependsOn", "kustomize-controller#601",
        "the Kustomization's Ready condition", words=CRD, detect=_failing(CRD, "Kustomization", "HelmRelease"),
    ),
    Row(
        "kustomization-build", "delivery", "the commit cannot be built",
        "kustomization path not found: stat /tmp/kustomization-…/clusters/local: no such file or directory",
        "spec.path is not in the commit, or a file there is not valid.",
        "correct the file and commit: ./run invoke gitops.push", f"{FLUX}components/kustomize/kustomizations/",
        "the Kustomization's Ready condition", words=r"kustomization path not found|kustomize build failed",
        because_of=("source-reference",), detect=_failing(BUILD, "Kustomization", unless=CRD),
    ),
    Row(
        "decryption-key", "delivery", "Flux has no key for the Secrets of a commit",
        "cannot get sops data key: Failed to get the data key required to decrypt the SOPS file",
        "The Secrets are encrypted for other age recipients, or Flux was not given this lab's key.",
        "./run invoke secret.init gives Flux the key; if the recipient that it prints is new in .sops.yaml, somebody "
        "who can read the Secrets adds it with secret.init --recipient", f"{FLUX}guides/mozilla-sops/",
        "the Kustomization's Ready condition", words=r"sops data key|Failed to get the data key",
        detect=_failing(DECRYPT, "Kustomization"),
    ),
    Row(
        "kustomization-failed", "delivery", "a commit is not applied",
        "ReconciliationFailed; HealthCheckFailed: timeout waiting for: [Deployment/hello/hello status: 'InProgress']",
        "An object was refused by the API server, does not become healthy, or a dependency is not ready.",
        f"{STATUS}; correct the object and commit", f"{FLUX}components/kustomize/kustomizations/",
        "the Kustomization's Ready condition", words=r"HealthCheckFailed|ReconciliationFailed|DependencyNotReady",
        because_of=(*CAUSES, *PODS_DOWN, "source-authentication", "source-scheme", "source-reference",
                    "source-unreachable", "source-failed", "crd-missing", "kustomization-build", "decryption-key",
                    "flux-stalled"),
        detect=_failing("", "Kustomization", unless=f"{CRD}|{BUILD}|{DECRYPT}"),
    ),
    Row(
        "helm-release-failed", "delivery", "a Helm release is not ready",
        "Helm install failed: timed out waiting for the condition", "Its chart, its values or its pods fail.",
        STATUS, f"{FLUX}components/helm/helmreleases/", "the HelmRelease's Ready condition",
        words=r"Helm (install|upgrade) failed", because_of=(*CAUSES, *PODS_DOWN, "source-unreachable", "source-failed"),
        detect=_failing("", "HelmRelease", unless=CRD),
    ),
    Row(
        "flux-stalled", "delivery", "Flux has given an object up", "STALLED True; InstallFailed; InvalidPath",
        "It cannot succeed before the object is changed: Flux does not try again.",
        "correct the object and commit", f"{FLUX}components/kustomize/kustomizations/#stalled-kustomization",
        "the objects' Stalled condition", because_of=("crash-loop", "image-pull", "container-config"),
        detect=_stalled,
    ),
    Row(
        "deletion-stuck", "delivery", "a deletion waits for finalizers",
        "Some content in the namespace has finalizers remaining: finalizers.fluxcd.io in 2 resource instances",
        "The controller that removes the finalizers does not run: Flux went before its objects.",
        "start that controller again, or ./run invoke flux.uninstall removes the finalizers", "flux2#632",
        "objects and namespaces with a deletionTimestamp", words=r"finalizers remaining|finalizers\.fluxcd\.io",
        because_of=("flux-scaled-to-zero", "flux-controller-down", "flux-missing"), detect=_terminating,
    ),
)  # fmt: skip
