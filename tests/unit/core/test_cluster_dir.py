"""The directory of a cluster's state: nobody else's, private, and the heir of what older releases kept."""

import json
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threezone.clients import kind
from threezone.cluster.lab import Lab
from threezone.core import names, paths
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.delivery import git_backup, git_server
from threezone.zones.export import path as place

ARN = "arn:aws:eks:eu-central-1:123456789012:cluster/one"
OURS = ["rescued", "logs", "daemons", "kubeconfig", "adopted", "kind", "tokens", "clusters", "contexts", "git-password"]
PLACES = [
    paths.cluster_dir,
    git_server.password_file,
    git_backup.directory,
    place.directory,
    lambda name: place.default(name, "ci"),
]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("ab.-/", max_size=8),
    st.from_regex(names.PATTERN, fullmatch=True),
    st.sampled_from([*OURS, "context-a", "..", "a-" + "0" * 32]),
)


def files(below: Path) -> dict[str, str]:
    return {str(path.relative_to(below)): path.read_text() for path in below.rglob("*") if path.is_file()}


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def backup(cluster: str, stamp: str = "20250101-000000-000", owner: str | None = None) -> Path:
    """A backup as older releases kept it."""
    listed = json.dumps({"cluster": owner or cluster, "repositories": {"lab": {}}})
    return put(paths.state_dir() / "rescued" / cluster / stamp / "rescue.json", listed).parent


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", ".a", "a\n", "A", "a" * 51])
@pytest.mark.parametrize("where", PLACES)
def test_no_place_is_given_for_a_hostile_name(name: str, where: object) -> None:
    assert callable(where)
    with pytest.raises(UsageError):
        where(name)


@given(one=TEXTS, other=TEXTS)
def test_no_name_leaves_its_directory_or_meets_another(one: str, other: str) -> None:
    def directory(key: str) -> Path | None:
        try:
            return paths.cluster_dir(key)
        except UsageError:
            return None

    keys = {one, other, f"{paths.FOREIGN}{one}", f"{paths.FOREIGN}{other}"}
    found = {key: made for key in keys if (made := directory(key)) is not None}
    assert found, "every context has a directory"
    for made in found.values():
        assert made.parent in (paths.state_dir() / "clusters", paths.state_dir() / "contexts")
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", made.name)
        assert len(made.name) < 100
    assert len({str(made).casefold() for made in found.values()}) == len(found)


def test_contexts_that_shared_a_file_name_share_none_now() -> None:
    literal = paths.slug("a b")
    assert (
        len({paths.slug(each) for each in ("a b", literal, paths.slug(literal), "a-b", "A-b", "a.b", "a/b", "")}) == 8
    )
    assert paths.slug("kind-kind") == "kind-kind"
    assert "/" not in paths.slug(ARN)


def test_a_token_of_another_context_is_not_taken_for_ours() -> None:
    assert "." not in paths.slug("kind-a.b"), "files of kind-a are found as kind-a.*.token"


def test_an_adopted_context_has_another_place_than_a_cluster_of_that_name() -> None:
    lab = Lab(Path(), Settings(), "kind", "rescued")
    assert paths.cluster_dir(lab.key) == paths.state_dir() / "contexts" / "rescued"
    assert paths.cluster_dir("rescued") == paths.state_dir() / "clusters" / "rescued"


def test_what_is_made_is_for_its_owner_only() -> None:
    made = paths.make(git_backup.directory("lab"))
    for directory in (made, made.parent, made.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["lab", *OURS])
def test_a_deletion_removes_that_cluster_and_nothing_else(name: str) -> None:
    def fill(cluster: str) -> None:
        git_server.write_private(git_server.password_file(cluster), cluster)
        put(place.default(cluster, "ci"), "")
        put(paths.cluster_dir(cluster) / "kind" / "create" / "kubeconfig")

    fill("other")
    for each in OURS:
        put(paths.state_dir() / each / "other" / "file")
    before = files(paths.state_dir())
    fill(name)
    kind.forget(name)
    place.forget(name)
    git_server.forget(name)
    assert files(paths.state_dir()) == before
    assert not paths.cluster_dir(name).is_dir() or name == "git-password"


def test_a_backup_outlives_its_cluster() -> None:
    held = put(git_backup.directory("lab") / "20250101-000000-000" / "rescue.json", '{"repositories": {"lab": {}}}')
    git_server.write_private(git_server.password_file("lab"), "secret")
    kind.forget("lab")
    place.forget("lab")
    git_server.forget("lab")
    assert held.is_file()
    assert git_backup.repositories("lab") == ("lab",)


@pytest.mark.parametrize("name", ["lab", *OURS])
def test_the_state_of_older_releases_is_moved(name: str) -> None:
    put(paths.state_dir() / name / "git-password", f"of {name}")
    put(paths.state_dir() / name / "watch-now.lock", "")
    put(paths.state_dir() / "logs" / "lab-1.tar.gz")
    backup(name)
    backup("other")
    for _ in range(2):
        assert git_server.password_file(name).read_text() == f"of {name}"
        assert git_backup.repositories(name) == ("lab",)
    kept = files(paths.state_dir())
    new = {f"clusters/{name}/git-password", f"clusters/{name}/rescued/20250101-000000-000/rescue.json"}
    others = {"rescued/other/20250101-000000-000/rescue.json", "logs/lab-1.tar.gz"}
    assert kept.keys() == new | others
    assert git_backup.repositories("other") == ("lab",)


def test_a_move_that_was_cut_off_is_completed() -> None:
    put(paths.state_dir() / "lab" / "git-password", "secret")
    first, second = backup("lab"), backup("lab", "20250102-000000-000")
    there = paths.make(paths.state_dir() / "clusters" / "lab" / "rescued")
    first.rename(there / first.name)
    assert len(git_backup.pending("lab")) == 2
    assert git_server.password_file("lab").read_text() == "secret"
    assert not second.exists()
    assert not (paths.state_dir() / "lab").exists()


def test_what_is_there_already_is_not_replaced() -> None:
    git_server.write_private(paths.state_dir() / "clusters" / "lab" / "git-password", "new")
    old = put(paths.state_dir() / "lab" / "git-password", "old")
    assert git_server.password_file("lab").read_text() == "new"
    assert old.read_text() == "old"


def test_what_is_not_this_clusters_stays() -> None:
    backup("lab", owner="other")
    link = paths.state_dir() / "lab" / "git-password"
    link.parent.mkdir()
    link.symlink_to(put(paths.state_dir().parent / "mine", "mine"))
    assert git_backup.pending("lab") == ()
    assert not git_server.password_file("lab").exists()
    assert link.read_text() == "mine"


def test_an_adopted_contexts_password_is_not_taken_for_that_of_a_cluster() -> None:
    old = put(paths.state_dir() / "context-foo" / "git-password", "of the context")
    assert not git_server.password_file("context-foo").exists()
    assert git_server.password_file(f"{paths.FOREIGN}foo").read_text() == "of the context"
    assert not old.exists()


def test_clusters_and_its_password_can_both_be_names_of_clusters() -> None:
    put(paths.state_dir() / "clusters" / "git-password", "of clusters")
    git_server.write_private(git_server.password_file("git-password"), "other")
    assert git_server.password_file("clusters").read_text() == "of clusters"
    assert git_server.password_file("git-password").read_text() == "other"


def test_exports_of_older_releases_stay_where_users_name_them_until_their_cluster_goes() -> None:
    old = paths.state_dir() / "kubeconfig"
    own = "{contexts: [{name: kind-lab, context: {}}, {name: kind-lab@host, context: {}}]}"
    mine, script = put(old / "lab-any.yaml", own), put(old / "lab-any-pick.sh")
    others = put(old / "lab-ci-job.yaml", "{contexts: [{name: prod, context: {}}]}")
    broken = put(old / "lab-ci.yaml", "{")
    paths.cluster_dir("lab")
    assert mine.exists()
    place.forget("lab")
    assert [path.exists() for path in (mine, script, others, broken)] == [False, False, True, True]
