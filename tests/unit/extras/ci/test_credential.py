"""What a job needs, from what Flux has: where its Kustomization and its source are."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.cluster.lab import Lab
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.extras.ci import credential
from threezone.extras.ci.rights import Job

FLUX = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations/{}"


def session(*kustomizations: tuple[str, str, str]) -> Lab:
    """A session whose API server has these Kustomizations: (namespace, name, namespace of the source)."""
    held = {
        FLUX.format(namespace, name): {"spec": {"sourceRef": {"kind": "GitRepository", "namespace": source}}}
        for namespace, name, source in kustomizations
    }
    api = SimpleNamespace(get=held.get)
    made: Any = SimpleNamespace(api=api, settings=Settings(), foreign="")
    return cast("Lab", made)


def roles(found: credential.Rights) -> list[str]:
    return [item.manifest["metadata"]["namespace"] for item in found.objects if item.kind == "Role"]


def test_the_lab_s_own_kustomization_is_what_a_job_waits_for() -> None:
    found = credential.rights_of(session(("flux-system", "lab", "")), Job())
    assert roles(found) == ["prod", "flux-system"]
    assert found.notice == ""


def test_a_source_in_another_namespace_is_looked_at_there() -> None:
    found = credential.rights_of(session(("team", "app", "sources")), Job(), "team/app")
    assert roles(found) == ["prod", "team", "sources", "flux-system"]


def test_without_flux_a_job_has_its_namespace_and_is_told_so() -> None:
    found = credential.rights_of(session(), Job())
    assert roles(found) == ["prod"]
    assert "there is no Kustomization flux-system/lab" in found.notice


def test_a_kustomization_that_is_not_there_is_refused_when_it_was_named() -> None:
    with pytest.raises(UsageError, match="no Kustomization flux-system/other"):
        credential.rights_of(session(("flux-system", "lab", "")), Job(), "other")
