"""A pipeline's file is text from settings: what is in it for every runner, and what can never get into it."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from threezone.core.errors import UsageError
from threezone.extras import signed_file as file
from threezone.extras.ci import pipeline
from threezone.extras.ci.pipeline import ACTIONS, Pipeline, Runner

RUNNERS: tuple[Runner, ...] = ("dind", "socket", "shell", "hosted")
EVERY = list(product(("gitlab", "github"), RUNNERS))
# In the order in which they have to come, whatever the runner.
LAB = (
    "invoke down --yes",
    "invoke cluster.create",
    "docker build",
    "invoke image.load app:lab",
    "invoke up --yes",
    "invoke gitops.prove",
    "invoke cluster.logs",
    "invoke down --yes",
)
DELIVERY = (
    "docker build",
    "docker push",
    "invoke kubeconfig.check",
    "commit --quiet",
    "push",
    "invoke gitops.wait",
    "kubectl --namespace",
)


def made(kind: str, runner: Runner, **changes: str) -> Any:
    return yaml.safe_load(pipeline.text(kind, Pipeline(runner, **changes)))


def jobs(kind: str, runner: Runner) -> dict[str, Any]:
    document = made(kind, runner)
    held = document["jobs"] if kind == "github" else document
    return {name: held[name] for name in ("lab", "build", "deliver")}


def commands(job: Any) -> str:
    if "steps" in job:
        return "\n".join(step.get("run", "") for step in job["steps"])
    return "\n".join([*job["script"], *job.get("after_script", [])])


@pytest.mark.parametrize(("kind", "runner"), EVERY)
def test_the_steps_come_in_their_order(kind: str, runner: Runner) -> None:
    found = jobs(kind, runner)
    for text, wanted in (
        (commands(found["lab"]), LAB),
        (commands(found["build"]) + commands(found["deliver"]), DELIVERY),
    ):
        at = 0
        for each in wanted:
            at = text.index(each, at)


@pytest.mark.parametrize(("kind", "runner"), EVERY)
def test_nothing_is_left_of_the_template_and_no_line_is_broken(kind: str, runner: Runner) -> None:
    text = pipeline.text(kind, Pipeline(runner))
    assert not re.search(r"<<|>> |<%|%>", text)
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    assert "insecure" not in text
    assert "0.0.0.0" not in text  # noqa: S104
    assert file.is_unedited(text)


@pytest.mark.parametrize(("kind", "runner"), EVERY)
def test_both_deliver_with_the_same_commands(kind: str, runner: Runner) -> None:
    text = commands(jobs(kind, runner)["deliver"])
    for name in ("deliver.sh", "logs.sh"):
        for line in Path(pipeline.__file__).with_name(name).read_text().splitlines():
            assert line.strip() in text


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_gitlab_job_fits_its_runner(runner: Runner) -> None:
    found = made("gitlab", runner)
    shared = found[".threezone"]
    assert ("image" in shared) == (runner != "shell")
    assert ("services" in shared) == (runner in ("dind", "hosted"))
    assert (found["variables"].get("DOCKER_HOST") == "tcp://docker:2375") == (runner in ("dind", "hosted"))
    assert ("resource_group" in found["lab"]) == (runner in ("socket", "shell")), "where the engine is shared"


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_github_job_fits_its_runner(runner: Runner) -> None:
    document = made("github", runner)
    for job in document["jobs"].values():
        assert job["runs-on"] == ("ubuntu-24.04" if runner == "hosted" else "self-hosted")
        assert ("container" in job) == (runner in ("socket", "dind"))
        assert ("services" in job) == (runner == "dind")
    assert document["permissions"] == {"contents": "read"}


def test_no_secret_and_no_expression_stands_in_a_command() -> None:
    for runner in RUNNERS:
        for job in made("github", runner)["jobs"].values():
            for step in job["steps"]:
                assert "${{" not in step.get("run", ""), "what a stranger names would become a command"
                assert "@" not in step.get("uses", "") or re.search(r"@[0-9a-f]{40}$", step["uses"])
        found = made("gitlab", runner)
        assert all("TOKEN" not in str(value) for value in found["variables"].values())
    assert all(re.match(r"[0-9a-f]{40} # v\d", pin) for pin in ACTIONS.values())


def test_the_settings_are_in_the_file() -> None:
    text = pipeline.text(
        "gitlab",
        Pipeline(
            "socket", lab="team-ci", invoke="invoke", image="team/tools:2", setup="pip install -r requirements.txt",
            namespace="shop", release="deploy/release", branch="trunk",
        ),
    )  # fmt: skip
    found = yaml.safe_load(text)
    assert found[".threezone"]["image"] == "team/tools:2"
    assert "pip install -r requirements.txt\n" in found[".threezone"]["before_script"]
    assert found["variables"]["LAB"] == "team-ci"
    assert found["variables"]["NAMESPACE"] == "shop"
    assert found["variables"]["RELEASE"] == "deploy/release"
    assert '$CI_COMMIT_BRANCH == "trunk" && $PROD_KUBECONFIG' in text
    assert "./run" not in text


@pytest.mark.parametrize(
    "broken",
    [
        {"namespace": "a\nb: c"},
        {"branch": 'main" || true'},
        {"release": "../elsewhere"},
        {"release": "/etc"},
        {"image": "x\n  y: z"},
        {"setup": "one\n- two"},
    ],
)
def test_values_that_would_change_the_files_structure_are_refused(broken: dict[str, str]) -> None:
    (name,) = broken
    with pytest.raises(UsageError, match=f"--{name}"):
        pipeline.text("gitlab", Pipeline("shell", **broken))


def test_an_unknown_runner_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="dind, socket, shell, hosted"):
        pipeline.runner("gitlab", "kubernetes")


PATH = Path("/project/.gitlab-ci.yml")


def test_an_equal_file_needs_no_step() -> None:
    text = file.signed("ci.gitlab", "a\n")
    assert file.plan(PATH, text, text) == ()


def test_a_new_file_and_one_of_ours_that_nobody_edited_are_written_unasked() -> None:
    older, text = file.signed("ci.gitlab", "a\n"), file.signed("ci.gitlab", "b\n")
    for existing in (None, older):
        (action,) = file.plan(PATH, existing, text)
        assert not action.asks


@pytest.mark.parametrize(
    ("existing", "said"),
    [("stages: [mine]\n", "which threezone did not write"), (file.signed("x", "a\n") + "mine\n", "which was edited")],
)
def test_an_edited_file_is_shown_as_a_diff_and_asks(existing: str, said: str) -> None:
    (action,) = file.plan(PATH, existing, file.signed("x", "b\n"))
    assert action.asks
    assert said in action.sentence
    assert "+b" in action.sentence
    assert re.search(r"^-.*mine", action.sentence, re.MULTILINE)
