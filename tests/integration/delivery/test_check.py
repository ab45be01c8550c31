"""gitops.check and gitops.diff without a cluster: real git and real Flux, on trees of many shapes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from threezone.cluster.lab import Lab
from threezone.core import process, settings
from threezone.core.errors import UsageError
from threezone.delivery import git_server
from threezone.delivery.check import check as checks
from threezone.delivery.check import flux_build, schemas, source
from threezone.delivery.check.findings import Report
from threezone.delivery.diff import compare

PATH = "clusters/lab"


def thing(version: str, kind: str, name: str, namespace: str, **fields: Any) -> str:
    """An object as a document of YAML."""
    data = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}
    return f"---\n{json.dumps(data, ensure_ascii=False)}\n"


def flux(name: str, path: str, **spec: Any) -> str:
    """A Kustomization of Flux."""
    usual = {"path": path, "prune": True, "interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "lab"}}
    return thing("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, "flux-system", spec={**usual, **spec})


def config(name: str, namespace: str = "default", **data: str) -> str:
    return thing("v1", "ConfigMap", name, namespace, data=data)


class Repository:
    """A user's repository, and a lab that does not answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet")
        gitops = settings.GitOps(path=PATH)
        self.lab = Lab(root, settings.Settings(gitops=gitops), "no-such-lab")

    def git(self, *argv: str) -> str:
        who = ("-c", "user.name=A User", "-c", "user.email=user@example.invalid")
        return process.run(["git", *who, "-C", self.root, *argv], timeout=60).stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(textwrap.dedent(text))

    def commit(self, files: Mapping[str, str]) -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A commit")
        return self.git("rev-parse", "HEAD").strip()

    def check(self, revision: str = "") -> Report:
        return checks.check(self.lab, revision)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    # The schemas that somebody's lab has left in the cache do not count here.
    monkeypatch.setattr(schemas, "directory", lambda: tmp_path / "schemas")
    (tmp_path / "project").mkdir()
    return Repository(tmp_path / "project")


def rules(report: Report) -> list[str]:
    return [finding.rule for finding in report.errors]


APPS = {
    f"{PATH}/all.yaml": flux("infra", "./infra") + flux("apps", "apps/", dependsOn=[{"name": "infra"}]),
    "infra/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: app}\n",
    "apps/kustomization.yaml": "resources: [one]\n",
    "apps/one/one.yaml": config("one", "app"),
    "apps/one/kustomization.yaml": "resources: [one.yaml]\n",
}


def test_clusters_infrastructure_and_apps(repository: Repository) -> None:
    repository.commit(APPS)
    report = repository.check()
    assert (rules(report), report.kustomizations, report.objects) == ([], 3, 4)
    assert report.source == "the working tree"
    assert any("no lab" in words for words in report.unchecked)


def test_what_is_not_committed_is_checked_and_said_and_nothing_of_the_user_is_touched(repository: Repository) -> None:
    sha = repository.commit({**APPS, ".gitignore": "ignored*\n"})
    repository.write({"apps/one/one.yaml": "a: [\n", "infra/ignored.yaml": "b: [\n", "apps/new.yaml": config("new")})
    before = {file: file.read_bytes() for file in repository.root.rglob("*") if file.is_file() and file.name != "index"}
    report = repository.check()
    assert "2 changes that are not committed" in report.source
    assert [(finding.rule, finding.file, finding.line) for finding in report.errors] == [
        ("yaml", "apps/one/one.yaml", 2)
    ]
    assert rules(repository.check(sha[:8])) == []
    assert rules(repository.check("HEAD")) == []
    after = {file: file.read_bytes() for file in repository.root.rglob("*") if file.is_file() and file.name != "index"}
    assert after == before
    with pytest.raises(UsageError):
        repository.check("no-such-revision")


def test_the_project_may_be_a_directory_of_its_repository(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = repository.root / "deploy"
    repository.commit({f"deploy/{PATH}/all.yaml": flux("apps", "./deploy/apps"), "deploy/apps/a.yaml": config("a")})
    monkeypatch.setattr(repository, "lab", Lab(sub, repository.lab.settings, "no-such-lab"))
    for revision in ("", "HEAD"):
        assert (rules(repository.check(revision)), repository.check(revision).kustomizations) == ([], 2)


BROKEN = {
    "a file that is missing": ({"apps/kustomization.yaml": "resources: [two.yaml]\n"}, ["build"]),
    "a key twice": ({"apps/one/one.yaml": "kind: A\nkind: B\n"}, ["yaml"]),
    "a tab": ({"apps/one/one.yaml": "a:\n\tb: c\n"}, ["yaml"]),
    "no kind": ({"apps/one/one.yaml": "a: b\n"}, ["build"]),
    "the same object twice": ({"apps/one/one.yaml": config("a") + config("a")}, ["build"]),
    "two kustomizations broken": ({"apps/one/one.yaml": "a: [\n", "infra/a.yaml": "b: {\n"}, ["yaml", "yaml"]),
    "no directory": ({f"{PATH}/b.yaml": flux("b", "./none")}, ["path"]),
    "a file in place of a directory": ({f"{PATH}/b.yaml": flux("b", "./apps/one/one.yaml")}, ["path"]),
    "an unknown dependency": ({f"{PATH}/b.yaml": flux("b", "./infra2", dependsOn=[{"name": "x"}])}, ["path"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_flux_cannot_render(repository: Repository, name: str) -> None:
    files, expected = BROKEN[name]
    repository.commit({**APPS, **files})
    report = repository.check("HEAD")
    assert rules(report) == expected, report.text()
    assert all(finding.file or finding.rule == "path" for finding in report.errors)
    assert "threezone-check-" not in report.text(), "paths are those of the user"


def test_links_and_ignored_files_do_not_reach_flux(repository: Repository) -> None:
    repository.commit(
        {**APPS, "real/a.yaml": config("a"), "skipped/a.yaml": config("b"), ".sourceignore": "skipped/\n"}
    )
    (repository.root / "linked").symlink_to("real")
    (repository.root / "apps/picture.png").write_bytes(b"png")
    repository.commit({
        f"{PATH}/b.yaml": flux("linked", "./linked") + flux("skipped", "./skipped"),
        "apps/kustomization.yaml": "resources: [one]\nconfigMapGenerator: [{name: x, files: [picture.png]}]\n",
    })  # fmt: skip
    for revision in ("", "HEAD"):
        report = repository.check(revision)
        assert sorted(rules(report)) == ["build", "path", "path"], report.text()
        assert any("linked is a link" in finding.message for finding in report.errors)


def test_the_delivered_path_is_a_link(repository: Repository) -> None:
    repository.commit({"real/a.yaml": config("a")})
    (repository.root / "clusters").symlink_to("real")
    repository.write({"real/lab/a.yaml": config("a")})
    assert rules(repository.check()) == ["path"]


VALUES = {"substitute": {"one": "1"}, "substituteFrom": [{"kind": "ConfigMap", "name": "values"}]}


def test_values_of_variables(repository: Repository) -> None:
    text = "v-${one}-${two}-${three:=3}"
    repository.commit({
        f"{PATH}/all.yaml": flux("settings", "./settings") + flux("apps", "./apps", postBuild=VALUES),
        "settings/a.yaml": config("values", "flux-system", two="zwei"),
        "apps/a.yaml": config("a", text=text),
    })  # fmt: skip
    assert rules(repository.check()) == []
    (change,) = repository_diff(repository, {"settings/a.yaml": config("values", "flux-system", two="2")})[:1]
    assert change["after"]["data"] == {"two": "2"}
    changes = repository_diff(repository, {"settings/a.yaml": config("values", "flux-system", two="2")})
    assert [each["after"]["data"] for each in changes if each["name"] == "a"] == [{"text": "v-1-2-3"}]


def repository_diff(repository: Repository, files: Mapping[str, str]) -> list[dict[str, Any]]:
    repository.write(files)
    changes: list[dict[str, Any]] = compare.diff(repository.lab, "", "HEAD").data()["changes"]
    return changes


def test_variables_without_a_value_are_all_told(repository: Repository) -> None:
    post = {"substitute": {"one": "1"}}
    repository.commit({
        f"{PATH}/all.yaml": flux("a", "./a", postBuild=post) + flux("b", "./b", postBuild=post) + flux("c", "./c"),
        "a/a.yaml": config("a", x="${two}", y="${three}", z="${one} ${four:=4} $${five}"),
        "b/b.yaml": config("b", x="${two}") + flux("under", "./under", postBuild=post),
        "c/c.yaml": config("c", x="${six}"),  # without any values, Flux replaces nothing
        "under/u.yaml": config("u", x="${seven}"),
    })  # fmt: skip
    report = repository.check()
    found = sorted((finding.object, finding.message.split()[2]) for finding in report.errors)
    assert found == [
        ("ConfigMap default/a", "three"),
        ("ConfigMap default/a", "two"),
        ("ConfigMap default/b", "two"),
        ("ConfigMap default/u", "seven"),
    ]
    assert {finding.file for finding in report.errors} == {"a/a.yaml", "b/b.yaml", "under/u.yaml"}


def test_several_sources_components_and_charts(repository: Repository) -> None:
    group = "source.toolkit.fluxcd.io/v1"
    own = {"url": git_server.url("lab"), "ref": {"branch": "main"}}
    other = {"url": "https://example.invalid/other.git", "ref": {"branch": "main"}}
    chart = {"chart": "./chart", "sourceRef": {"kind": "GitRepository", "name": "lab", "namespace": "flux-system"}}
    component = {"kind": "Component", "apiVersion": "kustomize.config.k8s.io/v1alpha1", "namePrefix": "my-"}
    ours, theirs = ({"kind": "GitRepository", "name": name} for name in ("own", "other"))
    repository.commit({
        f"{PATH}/sources.yaml": "".join(
            thing(group, "GitRepository", name, "flux-system", spec=spec)
            for name, spec in (("own", own), ("other", other))
        ),
        f"{PATH}/all.yaml": flux("a", "./a", sourceRef=ours, components=["../component"])
        + flux("far", "./far", sourceRef=theirs),
        "a/größe.yaml": config("groesse", text="größe: 名"),
        "a/release.yaml": thing(
            "helm.toolkit.fluxcd.io/v2", "HelmRelease", "web", "default", spec={"chart": {"spec": chart}}
        ),
        "component/kustomization.yaml": json.dumps(component),
    })  # fmt: skip
    report = repository.check()
    assert (rules(report), report.kustomizations) == (["chart"], 2), report.text()
    notes = "\n".join(report.unchecked)
    assert "Kustomization flux-system/far" in notes
    assert "HelmRelease default/my-web" in notes
    repository.commit({"chart/Chart.yaml": "name: web\n"})
    assert rules(repository.check()) == []


def test_a_hundred_kustomizations_with_one_that_is_broken(repository: Repository) -> None:
    files = {f"apps/a{number}/a.yaml": config(f"c{number}", text="${one}") for number in range(100)}
    every = "".join(flux(f"a{number}", f"./apps/a{number}", postBuild=VALUES) for number in range(100))
    repository.commit({f"{PATH}/all.yaml": every + config("values", "flux-system", one="1"), **files})
    report = repository.check()
    assert (rules(report), report.kustomizations, report.objects) == ([], 101, 201)
    repository.write({"apps/a42/a.yaml": "a: [\n"})
    report = repository.check()
    assert [(finding.rule, finding.file) for finding in report.errors] == [("yaml", "apps/a42/a.yaml")]


@pytest.mark.parametrize("name", ["--kubeconfig=x", "../../../x", "A"])
def test_a_name_that_is_none(repository: Repository, name: str) -> None:
    repository.commit({f"{PATH}/all.yaml": flux(name, "./a"), "a/a.yaml": config("a")})
    assert rules(repository.check()) == ["build"]


def test_kustomizations_that_apply_each_other_end(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flux_build, "SECONDS", 5.0)
    repository.commit({
        f"{PATH}/all.yaml": flux("a", "./a"), "a/b.yaml": flux("b", "./b"), "b/a.yaml": flux("a", "./a"),
        "b/kustomization.yaml": "resources: [a.yaml]\n",
    })  # fmt: skip
    report = repository.check()
    assert report.kustomizations == 3


def test_secrets_stay_encrypted_and_values_stay_hidden(repository: Repository) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
    sops = {**secret, "stringData": {"p": "ENC[AES256_GCM,data:x]"}, "sops": {"mac": "ENC[AES256_GCM,data:x]"}}
    repository.commit({
        f"{PATH}/all.yaml": flux("a", "./a", decryption={"provider": "sops"}), "a/s.yaml": json.dumps(sops),
    })  # fmt: skip
    assert rules(repository.check()) == []
    repository.write({"a/s.yaml": json.dumps({**secret, "stringData": {"p": "hunter2"}})})
    report = repository.check()
    assert rules(report) == ["secret"]
    diff = compare.diff(repository.lab, "", "HEAD")
    assert "hunter2" not in report.text() + json.dumps(report.data()) + diff.text() + json.dumps(diff.data())
    assert "*** (after)" in diff.text()


def test_a_diff_of_revisions_needs_no_cluster(repository: Repository) -> None:
    first = repository.commit(APPS)
    repository.commit({"apps/one/one.yaml": config("one", "app", a="b") + config("two", "app")})
    found = [(each.verb, each.what.name) for each in compare.diff(repository.lab, "HEAD", first).changes]
    assert found == [("change", "one"), ("create", "two")]
    back = [(each.verb, each.what.name) for each in compare.diff(repository.lab, first, "HEAD").changes]
    assert back == [("change", "one"), ("delete", "two")]


def test_the_copy_is_private_and_ends_with_the_check(repository: Repository) -> None:
    repository.commit({**APPS, "x/a.txt": "x", ".gitattributes": "*.txt export-ignore\n"})
    with source.tree(repository.root, PATH, "HEAD") as tree:
        assert tree.root.parent.stat().st_mode & 0o077 == 0
        assert (tree.root / "x/a.txt").read_text() == "x", "export-ignore is for archives"
        where = tree.root
    assert not where.exists()
