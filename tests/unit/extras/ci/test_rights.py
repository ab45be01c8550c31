"""What a job may do: no more than looking, unless it was asked for, and nowhere but where it has to look."""

from typing import Any

import pytest

from threezone.core.errors import UsageError
from threezone.extras.ci import rights
from threezone.extras.ci.rights import Job

LOOKING = Job(kustomizations="flux-system", sources="flux-system", controllers="flux-system")


def allowed(job: Job) -> set[tuple[str, str, str]]:
    """Every permission as (namespace, verb, resource)."""
    return {
        (namespace, verb, resource)
        for namespace, held in rights.rules(job).items()
        for rule in held
        for verb in rule.verbs
        for resource in rule.resources
    }


def test_a_job_that_delivers_by_commit_may_change_nothing_and_see_no_secret() -> None:
    found = allowed(LOOKING)
    assert {verb for _, verb, _ in found} == {"get", "list", "watch"}
    assert not {resource for *_, resource in found} & {"secrets", "*", "serviceaccounts", "roles", "pods/exec"}
    assert {namespace for namespace, *_ in found} == {"prod", "flux-system"}
    assert ("prod", "get", "pods/log") in found
    assert ("flux-system", "watch", "kustomizations") in found
    assert ("flux-system", "list", "pods") not in found


def test_applying_by_itself_is_asked_for_and_ends_at_the_namespace() -> None:
    more = allowed(Job(apply=True)) - allowed(Job())
    assert ("prod", "patch", "deployments") in more
    assert {namespace for namespace, *_ in more} == {"prod"}
    assert not {resource for *_, resource in more} - {"deployments", "statefulsets", "configmaps", "services"}


def test_every_rule_says_what_it_is_for() -> None:
    for held in rights.rules(Job(kustomizations="a", sources="b", controllers="c", apply=True)).values():
        assert all(rule.why and rule.verbs for rule in held)


def test_a_job_beside_flux_has_one_role_there() -> None:
    job = Job("flux-system", "job", "flux-system", "flux-system", "flux-system")
    made = [(item.kind, item.manifest["metadata"]["name"]) for item in rights.objects(job) if item.kind == "Role"]
    assert made == [("Role", "job")]


def test_an_account_of_the_same_name_in_another_namespace_has_roles_of_its_own_beside_flux() -> None:
    names = {
        item.path
        for home in ("a", "b")
        for item in rights.objects(Job(home, kustomizations="flux-system"))
        if item.manifest["metadata"].get("namespace") == "flux-system"
    }
    assert len(names) == 4


def seen(job: Job, **changes: Any) -> dict[str, Any]:
    return {item.path: {**item.manifest, **changes} for item in rights.objects(job)}


def test_equal_objects_need_no_step() -> None:
    assert rights.plan(rights.objects(LOOKING), seen(LOOKING)) == ()


def test_a_widened_role_is_changed_and_a_missing_binding_is_created() -> None:
    wanted, world = rights.objects(LOOKING), seen(LOOKING)
    role = next(item for item in wanted if item.kind == "Role" and item.manifest["metadata"].get("namespace") == "prod")
    binding = next(
        item
        for item in wanted
        if item.kind == "RoleBinding" and item.manifest["metadata"].get("namespace") == "flux-system"
    )
    world[role.path] = {**world[role.path], "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}
    world[binding.path] = None
    actions = rights.plan(wanted, world)
    assert [action.target for action in actions] == [role.path, binding.path]
    assert "change the Role prod/gitlab-ci-serviceaccount" in actions[0].sentence
    assert "why a pod does not start" in actions[0].sentence


def test_a_foreign_namespace_is_used_and_other_foreign_objects_are_refused() -> None:
    wanted, world = rights.objects(LOOKING), seen(LOOKING)
    for item in wanted:
        if item.kind == "Namespace":
            world[item.path] = {"metadata": {"name": "prod"}}
    assert rights.plan(wanted, world) == ()
    for item in wanted:
        if item.kind == "ServiceAccount":
            world[item.path] = {"metadata": {"name": "somebody"}}
    with pytest.raises(UsageError, match="the ServiceAccount prod/gitlab-ci-serviceaccount exists already"):
        rights.plan(wanted, world)
    assert all("serviceaccounts" not in action.target for action in rights.plan_removal(wanted, world))


def test_a_removal_has_our_objects_without_the_namespace() -> None:
    gone = rights.plan_removal(rights.objects(LOOKING), seen(LOOKING))
    assert len(gone) == len(rights.objects(LOOKING)) - 1
    assert "delete the ServiceAccount prod/gitlab-ci-serviceaccount" in gone[-1].sentence


@pytest.mark.parametrize("job", [Job("kube-system"), Job("Prod"), Job(account="a/b"), Job(account="")])
def test_invalid_names_are_refused(job: Job) -> None:
    with pytest.raises(UsageError):
        rights.checked(job)
