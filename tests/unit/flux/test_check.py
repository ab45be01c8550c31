from dataclasses import replace

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError
from threezone.flux import check as flux_check
from threezone.flux.check import Facts, checks
from threezone.flux.components import Component
from threezone.flux.installation import Installation
from threezone.flux.status import State


def definition(group: str, *, stored: str = "v1", established: str = "True") -> Json:
    return {
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "versions": [{"name": "v1", "served": True}, {"name": "v1beta2", "served": False}]},
        "status": {"storedVersions": [stored], "conditions": [{"type": "Established", "status": established}]},
    }


def source(ready: bool, *, suspended: bool = False) -> State:
    return State(
        "GitRepository", "flux-system", "lab", ready, suspended, "main@sha1:1", "GitOperationFailed", "refused", ""
    )


PARTS = (Component("source-controller", "source:1", True), Component("kustomize-controller", "kustomize:1", True))
FLUX = Installation("v2.7.3", PARTS, "flux-system", "threezone")
WELL = Facts(
    "v1.35.0",
    "2.7.3",
    FLUX,
    (definition("source.toolkit.fluxcd.io"), definition("kustomize.toolkit.fluxcd.io")),
    (),
    (source(True),),
)


def failing(facts: Facts) -> list[str]:
    return [f"{check.name}: {check.found}" for check in checks(facts) if not check.ok]


def test_a_healthy_flux_passes_every_check() -> None:
    assert failing(WELL) == []
    assert [check.name for check in checks(WELL)] == [
        "kubernetes",
        "flux CLI",
        "installed",
        "definition things.kustomize.toolkit.fluxcd.io",
        "definition things.source.toolkit.fluxcd.io",
        "source-controller",
        "kustomize-controller",
        "GitRepository flux-system/lab",
    ]
    flux_check.require(checks(WELL))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(WELL, kubernetes="v1.31.9"), "kubernetes: v1.31.9; Flux v2.7.3 needs 1.32 or newer"),
        (replace(WELL, tool="2.6.4"), "flux CLI: v2.6.4; the cluster has Flux v2.7.3"),
        (replace(WELL, installation=None), "installed: there is no Flux"),
        (
            replace(WELL, installation=replace(FLUX, components=PARTS[:1])),
            "installed: Flux v2.7.3 in flux-system, installed by threezone; without kustomize-controller",
        ),
        (
            replace(WELL, definitions=WELL.definitions[:1]),
            "definitions of kustomize-controller: there is none in kustomize.toolkit.fluxcd.io",
        ),
        (
            replace(WELL, definitions=(definition("source.toolkit.fluxcd.io", stored="v1beta2"), WELL.definitions[1])),
            "definition things.source.toolkit.fluxcd.io: serves v1; objects are stored as v1beta2, which is not served",
        ),
        (
            replace(
                WELL, definitions=(definition("source.toolkit.fluxcd.io", established="False"), WELL.definitions[1])
            ),
            "definition things.source.toolkit.fluxcd.io: serves v1; not established",
        ),
        (replace(WELL, states=(source(False),)), "GitRepository flux-system/lab: GitOperationFailed: refused"),
    ],
    ids=["old cluster", "old CLI", "no Flux", "half", "a CRD lost", "stored version", "not established", "a source"],
)
def test_each_check_can_fail_alone_with_its_reason(facts: Facts, reason: str) -> None:
    assert failing(facts) == [reason]
    with pytest.raises(DeliveryError) as caught:
        flux_check.require(checks(facts))
    assert str(caught.value) == reason
    assert caught.value.fix


def test_a_controller_that_is_not_rolled_out_fails_with_the_message_of_its_pod() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    pod: Json = {
        "metadata": {"name": "p", "labels": {"app": "source-controller"}},
        "status": {"containerStatuses": [{"name": "manager", "state": waiting}]},
    }
    down = replace(FLUX, components=(replace(PARTS[0], ready=False), PARTS[1]))
    assert failing(replace(WELL, installation=down, pods=(pod,))) == [
        "source-controller: not rolled out: container manager: CrashLoopBackOff: back-off"
    ]
    assert failing(replace(WELL, installation=down)) == [
        "source-controller: not rolled out: it has no pod that is ready"
    ]


def test_a_suspended_source_and_a_missing_cli_are_no_failures() -> None:
    assert failing(replace(WELL, states=(source(False, suspended=True),))) == []
    assert failing(replace(WELL, tool="")) == []


def test_definitions_without_controllers_are_not_an_installation() -> None:
    left = replace(FLUX, namespace="", components=())
    assert "installed: only the resource definitions of Flux v2.7.3 exist" in failing(replace(WELL, installation=left))


def test_an_unknown_version_of_flux_passes_with_a_remark() -> None:
    newer = replace(WELL, installation=replace(FLUX, version="v2.99.0"), tool="2.99.0")
    assert failing(newer) == []
    assert "does not know" in checks(newer)[0].found
