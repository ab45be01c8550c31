"""What the API server refuses, as a sentence: who may not do what, where, and the command that mends it."""

import pytest

from threezone.clients.kubernetes.api import Forbidden, Refused, Unauthorized, refused

ACCOUNT = "system:serviceaccount:prod:gitlab-ci-serviceaccount"
IN_A_NAMESPACE = (
    f'kustomizations.kustomize.toolkit.fluxcd.io "lab" is forbidden: User "{ACCOUNT}" cannot get resource '
    '"kustomizations" in API group "kustomize.toolkit.fluxcd.io" in the namespace "flux-system"'
)


def test_a_job_s_account_that_may_not_is_named_with_what_it_wanted_and_the_command_that_mends_it() -> None:
    no = refused(403, IN_A_NAMESPACE)
    assert isinstance(no, Forbidden)
    assert str(no) == (
        "the service account prod/gitlab-ci-serviceaccount may not get kustomizations (kustomize.toolkit.fluxcd.io) "
        "in the namespace flux-system"
    )
    assert no.evidence == IN_A_NAMESPACE
    assert "./run invoke ci.kubeconfig --namespace prod --account gitlab-ci-serviceaccount" in no.fix
    assert (no.status, no.exit_code) == (403, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope',
            "the user jane may not list nodes at the cluster scope",
        ),
        (
            'pods "a" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "prod"',
            "the user jane may not get pods/log in the namespace prod",
        ),
    ],
)
def test_a_person_is_told_the_same(words: str, said: str) -> None:
    no = refused(403, words)
    assert str(no) == said
    assert "kubectl auth can-i --list" in no.fix


def test_a_403_of_another_kind_keeps_its_words() -> None:
    no = refused(403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"')
    assert type(no) is Refused
    assert "violates PodSecurity" in str(no)


def test_a_login_that_has_ended_is_told_as_such() -> None:
    no = refused(401, "Unauthorized")
    assert isinstance(no, Unauthorized)
    assert "its token has expired" in str(no)
    assert "./run invoke ci.kubeconfig" in no.fix
    assert no.status == 401
