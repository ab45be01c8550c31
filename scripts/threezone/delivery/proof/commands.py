"""What somebody types to see a phase with their own eyes. Pure."""

from __future__ import annotations

import shlex

from threezone.delivery.proof import manifests
from threezone.delivery.proof.manifests import Names


def commands(phase: str, names: Names, context: str, repository: str) -> list[str]:
    """The commands that repeat a phase by hand, in their order, for any POSIX shell."""
    kubectl = f"kubectl --context {shlex.quote(context)}"
    flux = f"flux --context {shlex.quote(context)} --namespace {names.ground}"
    name, web = names.name, f"deployment/{manifests.APP}"
    answer = f"{kubectl} get --raw /api/v1/namespaces/{name}/services/{manifests.APP}:{manifests.PORT}/proxy/"
    commit = [
        f"git add --all {names.path} && git commit --allow-empty --message {phase}",
        f"git push {repository} HEAD:{name}",
        f"{flux} reconcile source git {name}",
    ]
    state = f"{kubectl} --namespace {names.ground} get kustomization {name}"
    rollout = [f"{kubectl} --namespace {name} rollout status {web}", answer]
    change = '{"spec":{"replicas":0}}'
    hand = f"{kubectl} --namespace {name} patch {web} --type=merge --field-manager=somebody-by-hand -p '{change}'"
    owners = f"{kubectl} --namespace {name} get {web} --show-managed-fields --output yaml"
    release = '--type=merge -p \'{"metadata":{"finalizers":null}}\''
    free = f"{kubectl} --namespace {names.ground} patch configmap {manifests.GUARD} {release}"
    special = {
        "drift": [hand, *commit, *rollout, owners],
        "broken": [*commit, state, answer],
        "repair": ["git revert --no-edit HEAD", *commit[1:], *rollout],
        "suspend": [
            *(f"{flux} suspend kustomization {name}", *commit, state, answer),
            *(f"{flux} resume kustomization {name}", *rollout),
        ],
        "destroy": [*commit, f"{kubectl} get namespace {name}", free],
    }
    return special.get(phase, [*commit, *rollout])
