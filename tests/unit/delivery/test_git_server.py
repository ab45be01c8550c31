import base64
from pathlib import Path

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import UsageError
from threezone.delivery import git_server


def test_the_password_is_in_the_secret_and_nowhere_else() -> None:
    objects = git_server.manifests("threezone/git-server:1", ["lab"], "s3cret-Password")
    holders = [path for path, wanted in objects if "s3cret-Password" in str(wanted)]
    encoded = base64.b64encode(b"s3cret-Password").decode()
    assert holders == []
    assert [path for path, wanted in objects if encoded in str(wanted)] == [
        "/api/v1/namespaces/threezone/secrets/git-password"
    ]


def test_each_object_goes_to_its_own_path() -> None:
    for path, wanted in git_server.manifests("image", ["lab"], "x"):
        assert path.endswith("/" + wanted["metadata"]["name"])


def test_a_secret_file_is_for_its_owner_only_and_written_once(tmp_path: Path) -> None:
    file = tmp_path / "lab" / "git-password"
    git_server.write_private(file, "one")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("one", 0o600)
    before = file.stat().st_ino
    git_server.write_private(file, "one")
    assert file.stat().st_ino == before
    file.chmod(0o644)
    git_server.write_private(file, "one")
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_served_is_what_the_deployment_was_told() -> None:
    deployment = dict(git_server.manifests("image", ["lab", "team-a"], "x"))[
        f"{git_server.DEPLOYMENTS}/{git_server.NAME}"
    ]
    assert git_server.repositories(deployment) == ("lab", "team-a")
    assert git_server.repositories(None) == ()


def test_repositories_are_kept_on_a_node_or_in_a_claim() -> None:
    def volume(wanted: list[tuple[str, Json]]) -> Json:
        spec: Json = dict(wanted)[f"{git_server.DEPLOYMENTS}/{git_server.NAME}"]["spec"]["template"]["spec"]
        return dict(spec["volumes"][0])

    on_node, claimed = (
        git_server.manifests("image", ["lab"], "x", "lab-worker"),
        git_server.manifests("image", ["lab"], "x"),
    )
    assert volume(on_node) == {"name": "repositories", "hostPath": {"path": git_server.STORE, "type": "Directory"}}
    assert volume(claimed) == {"name": "repositories", "persistentVolumeClaim": {"claimName": "git"}}
    kinds = [[wanted["kind"] for _, wanted in found] for found in (on_node, claimed)]
    assert [("PersistentVolumeClaim" in each) for each in kinds] == [False, True]
    deployments = [dict(found)[f"{git_server.DEPLOYMENTS}/{git_server.NAME}"] for found in (on_node, claimed)]
    assert [git_server.storage_node(each) for each in (*deployments, None)] == ["lab-worker", "", ""]


@pytest.mark.parametrize("name", ["", "Lab", "../etc", "a/b", "-a", "a-", "lab.git", "a" * 64, "--help"])
def test_a_name_that_cannot_be_a_directory_and_an_object_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a repository name"):
        git_server.repository_name(name)
