from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import NAMESPACES, World
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery.proof import field_ownership, manifests, phases, sandbox
from threezone.delivery.proof.assertions import Assertions
from threezone.delivery.proof.manifests import Names
from threezone.delivery.proof.phases import Outcome, commands
from threezone.flux.components import DEPLOYMENTS
from threezone.flux.objects import inventory

ID = Names("1a2b3c")
ASSERT = Assertions(ID)
TARGET = ASSERT.target
COLLECTIONS = ASSERT.collections
OLD = "proof-1a2b3c@sha1:" + "a" * 40
NEW = "proof-1a2b3c@sha1:" + "b" * 40


# Which phases run.


def test_all_phases_run_in_their_order_when_none_is_named() -> None:
    names = [phase.name for phase in phases.plan()]
    assert names == ["create", "update", "drift", "broken", "repair", "suspend", "destroy"]


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        (["destroy", "create"], ["create", "destroy"]),
        (["drift"], ["create", "drift"]),
        (["repair"], ["create", "broken", "repair"]),
    ],
)
def test_a_phase_brings_those_that_it_stands_on(asked: list[str], run: list[str]) -> None:
    assert [phase.name for phase in phases.plan(asked)] == run


def test_an_unknown_phase_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="there is no phase 'creat'") as caught:
        phases.plan(["creat"])
    assert "create, update" in caught.value.fix


# What the commits declare.


def objects(files: manifests.Files) -> dict[str, Any]:
    named = yaml.safe_load(files["kustomization.yaml"])["resources"]
    found = [document for name in named for document in yaml.safe_load_all(files[name])]
    return {
        f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}": each for each in found
    }


def test_a_good_commit_declares_a_workload_and_what_is_held_beside_it() -> None:
    assert set(objects(manifests.workload(ID, "image", "text"))) == {
        "Namespace /proof-1a2b3c",
        "Deployment proof-1a2b3c/web",
        "Service proof-1a2b3c/web",
        "ConfigMap proof-1a2b3c-flux/kept",
        "ConfigMap proof-1a2b3c-flux/guarded",
    }


def test_every_object_carries_the_proofs_labels() -> None:
    declared = objects(manifests.workload(ID, "image", "text"))
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in declared.values()} == {"proof-1a2b3c"}


def test_the_broken_commit_differs_in_one_value_and_the_last_one_keeps_one_object() -> None:
    good = manifests.workload(ID, "image", "text")
    bad = manifests.broken(good)
    assert {name for name in good if good[name] != bad[name]} == {"workload.yaml"}
    assert "containerPort: many" in bad["workload.yaml"]
    assert set(objects(manifests.nothing(good))) == {"ConfigMap proof-1a2b3c-flux/kept"}


def test_an_id_that_looks_like_a_number_stays_a_text_for_every_reader_of_yaml() -> None:
    assert ": 87e025\n" not in "".join(manifests.workload(Names("87e025"), "image", "text").values())


def test_a_text_is_known_by_its_phase() -> None:
    assert len({manifests.text(ID, name) for name in phases.NAMES}) == len(phases.NAMES)


# Who owns the fields.


def managed(*entries: tuple[str, str, Json], kind: str = "Deployment") -> Json:
    listed = [{"manager": who, "subresource": sub, "fieldsV1": fields} for who, sub, fields in entries]
    return {"kind": kind, "metadata": {"namespace": "n", "name": "web", "managedFields": listed}}


FLUX: tuple[str, str, Json] = ("kustomize-controller", "", {"f:spec": {"f:replicas": {}}})
STATUS: tuple[str, str, Json] = ("k3s", "status", {"f:status": {"f:replicas": {}}})


def test_flux_owns_what_is_declared_and_anybody_may_write_a_status() -> None:
    assert field_ownership.foreign([managed(FLUX, STATUS)]) == []
    assert field_ownership.managers([managed(FLUX, STATUS)]) == {"k3s (status)", "kustomize-controller"}


def test_a_field_of_somebody_else_is_named_with_its_owner() -> None:
    kept = ("kubectl-edit", "", {"f:metadata": {"f:labels": {".": {}, "f:mine": {}}}, "f:spec": {"f:paused": {}}})
    (line,) = field_ownership.foreign([managed(FLUX, kept)])
    assert line == "Deployment n/web: kubectl-edit owns metadata.labels.mine, spec.paused"
    assert field_ownership.owns(managed(FLUX, kept), "kubectl-edit")
    assert not field_ownership.owns(managed(FLUX), "kubectl-edit")


def test_a_long_list_of_fields_is_cut() -> None:
    many: tuple[str, str, Json] = ("somebody", "", {"f:data": {f"f:{n}": {} for n in range(9)}})
    (line,) = field_ownership.foreign([managed(many, kind="ConfigMap")])
    assert line == "ConfigMap n/web: somebody owns data.0, data.1, data.2, data.3 and 5 more"


# What is seen.


def kustomization(
    applied: str,
    *,
    attempted: str = "",
    ready: str = "True",
    reason: str = "",
    handled: str = "",
    suspend: bool = False,
) -> Json:
    return {
        "metadata": {"name": ID.name, "namespace": ID.sandbox, "generation": 1},
        "spec": {"suspend": suspend, "prune": True},
        "status": {
            "observedGeneration": 1,
            "lastAppliedRevision": applied,
            "lastAttemptedRevision": attempted or applied,
            "lastHandledReconcileAt": handled,
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": "Flux's words"}],
            "inventory": {"entries": [{"id": f"{ID.name}_web_apps_Deployment", "v": "v1"}]},
        },
    }


def deployment(*, ready: int = 1, wanted: int = 1, generation: int = 1, page: str = "page-1", owner: str = "") -> Json:
    fields = [{"manager": "kustomize-controller"}, *([{"manager": owner}] if owner else [])]
    volumes = [{"name": "page", "configMap": {"name": page}}]
    return {
        "metadata": {
            "name": "web", "namespace": ID.name, "uid": "web", "generation": generation, "managedFields": fields,
        },
        "spec": {"replicas": wanted, "template": {"spec": {"volumes": volumes}}},
        "status": {
            "observedGeneration": 1, "updatedReplicas": ready, "availableReplicas": ready, "replicas": ready,
        },
    }  # fmt: skip


def pod(name: str, ready: str = "True", **meta: str) -> Json:
    return {
        "metadata": {"name": name, "namespace": ID.name, "uid": name, **meta},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def leading_to(*pods: str) -> Json:
    endpoints = [{"conditions": {"ready": True}, "targetRef": {"uid": each}} for each in pods]
    return {"metadata": {"name": "web-1", "namespace": ID.name}, "endpoints": endpoints}


def seen(
    revision: str = NEW, *, fetched: str = NEW, found: Json | None = None, pods: tuple[Json, ...] = (pod("p"),),
    leads: tuple[str, ...] = ("p",), text: str = "text\n", of: Json | None = None,
) -> World:  # fmt: skip
    source = {
        "metadata": {"name": ID.name, "namespace": ID.sandbox, "generation": 1},
        "spec": {},
        "status": {"artifact": {"revision": fetched}},
    }
    page = {"metadata": {"name": "page-1", "namespace": ID.name}, "data": {"index.html": text}}
    key = f"{ID.sandbox}/{ID.name}"
    return {
        TARGET.sources: {key: source},
        TARGET.kustomizations: {key: of or kustomization(revision)},
        COLLECTIONS["Deployment"]: {f"{ID.name}/web": found or deployment()},
        COLLECTIONS["ConfigMap"]: {f"{ID.name}/page-1": page},
        COLLECTIONS["Pod"]: {f"{ID.name}/{each['metadata']['name']}": each for each in pods},
        COLLECTIONS["EndpointSlice"]: {"slice": leading_to(*leads)},
        COLLECTIONS["Service"]: {},
        COLLECTIONS["Sandbox"]: {},
        NAMESPACES: {},
    }


def test_the_workload_of_the_revision_runs_and_nothing_else() -> None:
    assert ASSERT.settled(seen(), NEW) == []


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (seen(OLD), "Flux to apply"),
        (seen(OLD, fetched=OLD), "Flux to fetch"),
        (seen(found=deployment(ready=0)), "1 availableReplicas replicas (there are 0)"),
        (seen(found=deployment(generation=2)), "controller to see the change"),
        (seen(pods=(pod("p", "False"),)), "pod p to be ready"),
        (seen(pods=(pod("p"), pod("old", deletionTimestamp="now"))), "1 pods and no more (there are 2)"),
        (seen(leads=()), "the service to route to 1 pods"),
        (seen(leads=("p", "old")), "the service to route to 1 pods (it routes to 2)"),
    ],
)
def test_what_is_not_yet_as_the_revision_says_is_missing(world: World, words: str) -> None:
    assert words in " ".join(ASSERT.settled(world, NEW))


def test_a_drift_is_put_back_when_value_and_owner_are() -> None:
    hand = "somebody-by-hand"
    assert ASSERT.drift_corrected(seen(), "text\n", hand) == []
    drifted = seen(found=deployment(wanted=2, owner=hand), text="by hand")
    assert ASSERT.drift_corrected(drifted, "text\n", hand) == [
        "spec.replicas to be put back to 1 (it is 2)",
        "the text in the ConfigMap page-1 to be put back",
        "somebody-by-hand to own nothing of web any more",
    ]


def test_a_broken_commit_is_reported_only_by_fluxs_word_on_it() -> None:
    failed = kustomization(OLD, attempted=NEW, ready="False", reason="ReconciliationFailed")
    assert ASSERT.refused(seen(of=failed), NEW) == []
    before = kustomization(OLD, ready="False", reason="ReconciliationFailed")
    assert ASSERT.refused(seen(of=before), NEW)
    progressing = kustomization(OLD, attempted=NEW, ready="Unknown")
    assert ASSERT.refused(seen(of=progressing), NEW)
    with pytest.raises(DeliveryError, match="Flux applied proof-1a2b3c@sha1:bbbbbbb, although it cannot be valid"):
        ASSERT.refused(seen(NEW), NEW)


def test_nothing_moves_when_a_suspended_flux_has_seen_a_request_and_left_the_revision_alone() -> None:
    asked = kustomization(OLD, handled="now", suspend=True)
    assert ASSERT.suspended(seen(of=asked), NEW, "now") == []
    assert ASSERT.suspended(seen(of=asked), NEW, "later"), "the request is not seen yet"
    assert ASSERT.suspended(seen(of=asked, fetched=OLD), NEW, "now"), "there was nothing to take up"
    moved = kustomization(OLD, attempted=NEW, handled="now", suspend=True)
    with pytest.raises(DeliveryError, match="took up proof-1a2b3c@sha1:bbbbbbb while it was suspended"):
        ASSERT.suspended(seen(of=moved), NEW, "now")


def test_what_nobody_asked_to_go_is_not_pruned() -> None:
    items = inventory(kustomization(OLD))
    assert ASSERT.remaining(seen(), items, terminating=False) == ["Deployment proof-1a2b3c/web"]
    going = deployment()
    going["metadata"]["deletionTimestamp"] = "now"
    assert ASSERT.remaining(seen(found=going), items, terminating=False) == []
    assert ASSERT.remaining(seen(found=going), items, terminating=True) == ["Deployment proof-1a2b3c/web"]


def test_a_namespace_is_gone_when_it_is_not_there_and_says_what_it_waits_for() -> None:
    assert ASSERT.namespace_gone(seen()) == []
    waiting = [{"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1"}]
    world = seen() | {NAMESPACES: {f"/{ID.name}": {"status": {"conditions": waiting}}}}
    assert ASSERT.namespace_gone(world) == ["the namespace proof-1a2b3c to be gone (pods. has 1)"]


@pytest.mark.parametrize(
    "judge",
    [
        lambda world: ASSERT.refused(world, NEW),
        lambda world: ASSERT.suspended(world, NEW, "now"),
        lambda world: ASSERT.settled(world, NEW),
    ],
    ids=["refused", "suspended", "settled"],
)
def test_a_controller_at_zero_ends_every_wait(judge: Any) -> None:
    world = seen(OLD) | {DEPLOYMENTS: {"flux-system/kustomize-controller": {"spec": {"replicas": 0}}}}
    with pytest.raises(DeliveryError, match="kustomize-controller is scaled to zero"):
        judge(world)


# Who lives.


NOW = datetime.fromisoformat("2026-01-01T00:01:00Z")


def sign(seconds_ago: float, **labels: str) -> Json:
    at = (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    meta = {"name": "proof-000001-flux", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": {
            **meta,
            "labels": {manifests.INSTANCE_LABEL: "proof-000001"} | labels,
            "managedFields": [{"time": at}],
        }
    }


@pytest.mark.parametrize(
    ("namespace", "lease", "dead"),
    [
        (sign(600), sign(5), False),
        (sign(600), sign(31), True),
        (sign(5), None, False),
        (sign(31), None, True),
        (sign(600, **{sandbox.KEPT_LABEL: "true"}), sign(600), False),
        (sign(600, **{manifests.INSTANCE_LABEL: "proof-other"}), sign(600), False),
    ],
    ids=["renewed", "not renewed", "just begun", "killed at once", "kept", "a foreign namespace with our label"],
)
def test_a_proof_is_dead_when_nobody_renews_it(namespace: Json, lease: Json | None, dead: bool) -> None:
    leases = {"proof-000001-flux": lease} if lease else {}
    assert sandbox.dead([namespace], leases, NOW) == ([Names("000001")] if dead else [])


# Evidence.


def test_the_stages_add_up_to_the_total_and_what_was_not_reached_is_null() -> None:
    moments = {"committed": 10.0, "pushed": 10.5, "fetched": 11.5, "applied": 12.0, "ended": 20.0}
    whole = Outcome(phases.PHASES[0], moments=moments).seconds()
    assert whole == {"push": 0.5, "fetch": 1.0, "apply": 0.5, "settle": 8.0, "total": 10.0}
    begun = Outcome(phases.PHASES[0], moments={"committed": 10.0, "pushed": 10.5}).seconds()
    assert begun == {"push": 0.5, "fetch": None, "apply": None, "settle": None, "total": None}


@pytest.mark.parametrize("phase", phases.NAMES)
def test_each_phase_says_how_to_repeat_it_by_hand(phase: str) -> None:
    lines = commands(phase, ID, "kind-kind", "http://git/lab.git")
    assert any(line.startswith("git push http://git/lab.git HEAD:proof-1a2b3c") for line in lines)
    assert all(line.split()[0] in ("git", "kubectl", "flux") for line in lines)
    assert all("--context kind-kind" in line for line in lines if not line.startswith("git"))
