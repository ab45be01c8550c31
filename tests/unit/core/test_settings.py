from pathlib import Path

import pytest

from threezone.core import settings
from threezone.core.errors import UsageError
from threezone.core.settings import Settings

ROOT = Path(__file__).parents[3]


def load(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "invoke.yaml").write_text(text, encoding="utf-8")
    return settings.load(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert settings.load(tmp_path) == Settings()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "threezone:\n", "threezone: {}\n", "run: {echo: true}\n"])
def test_an_empty_section_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


def test_our_own_file_spells_out_the_defaults() -> None:
    assert settings.load(ROOT) == Settings()


def test_what_is_set_is_set_and_the_rest_stays(tmp_path: Path) -> None:
    loaded = load(tmp_path, "threezone: {channel: source, cluster: {name: lab}, app: {port: 8080}}")
    assert (loaded.channel, loaded.cluster.name, loaded.app.port) == ("source", "lab", 8080)
    assert loaded.cluster.config == Settings().cluster.config
    assert loaded.gitops == Settings().gitops


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("{chanel: auto}", "unknown key threezone.chanel; did you mean 'channel'?"),
        ("{cluster: {nmae: x}}", "unknown key threezone.cluster.nmae; did you mean 'name'?"),
        ("{weather: fine}", "unknown key threezone.weather; known keys: channel, cluster, gitops, app"),
        ("{channel: fast}", 'threezone.channel: expected one of auto, release, source, got "fast"'),
        ("{cluster: {api: everywhere}}", 'threezone.cluster.api: expected one of gateway, loopback, got "everywhere"'),
        ("{channel: 1}", "threezone.channel: expected one of auto, release, source, got 1"),
        ("{cluster: {name: 5}}", "threezone.cluster.name: expected text, got 5"),
        ("{cluster: {name: on}}", "threezone.cluster.name: expected text, got true"),
        ("{cluster: {name: }}", "threezone.cluster.name: expected text, got nothing"),
        ("{cluster: {kubernetes: 1.30}}", 'threezone.cluster.kubernetes: expected a version in quotes, such as "1.35"'),
        ("{cluster: {kubernetes: latest}}", "threezone.cluster.kubernetes: expected a version in quotes"),
        ("{flux: {version: 2.9}}", 'threezone.flux.version: expected a version in quotes, such as "2.9" or "2.9.0"'),
        ("{flux: {version: v2.9.5}}", "threezone.flux.version: expected a version in quotes"),
        ("{cluster: {workers: -1}}", "threezone.cluster.workers: expected a whole number from 0, got -1"),
        ("{cluster: {ports: '80:80'}}", 'threezone.cluster.ports: expected a list of texts, got "80:80"'),
        ("{cluster: {mounts: ['/a:/b', 5]}}", "threezone.cluster.mounts: expected a list of texts, got 5"),
        ("{cluster: {overlay: [1]}}", "threezone.cluster.overlay: expected a mapping, got [1]"),
        ("{app: {port: '80'}}", 'threezone.app.port: expected a whole number from 1 to 65535, got "80"'),
        ("{app: {port: 0}}", "threezone.app.port: expected a whole number from 1 to 65535, got 0"),
        ("{app: {port: 65536}}", "threezone.app.port: expected a whole number from 1 to 65535, got 65536"),
        ("{gitops: {timeout: 1.5}}", "threezone.gitops.timeout: expected a whole number from 1, got 1.5"),
        ("{gitops: fast}", "threezone.gitops: expected a section with the keys path, branch, repository, url"),
        ("[channel]", "threezone: expected a section with the keys channel, cluster, gitops, app"),
        (
            "false",
            "threezone: expected a section with the keys channel, cluster, gitops, app, registry, network, flux, got",
        ),
        ("{1: 2}", "threezone: expected a section with the keys channel, cluster, gitops, app"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_was_expected(tmp_path: Path, section: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, f"threezone: {section}\n")
    assert caught.value.message.startswith(f"{tmp_path}/invoke.yaml: {sentence}")
    assert caught.value.fix == f"correct {tmp_path}/invoke.yaml"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["threezone: {a: b: c}\n", "\tthreezone: 1\n", "threezone: !!python/object:os.x {}\n"])
def test_broken_yaml_names_the_file_and_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.message == f"{tmp_path}/invoke.yaml is not valid YAML"
    assert f'"{tmp_path}/invoke.yaml", line 1' in caught.value.evidence


def test_what_is_not_text_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_bytes(b"threezone: \xff\n")
    with pytest.raises(UsageError, match="is not valid YAML"):
        settings.load(tmp_path)


@pytest.mark.parametrize("text", ["[1]", "5", "text", "false"])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="expected sections, got"):
        load(tmp_path, text)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Settings().cluster.name = "other"  # type: ignore[misc]


def test_the_root_is_where_invoke_finds_the_tasks(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert settings.find_root(below) == below
    (tmp_path / "tasks.py").write_text("")
    assert settings.find_root(below) == tmp_path
    (below / "tasks.py").write_text("")
    assert settings.find_root(below) == below


@pytest.mark.parametrize("branch", ["main", "feature/größe", "v1.2", "a@b"])
def test_branch_names_that_git_takes_are_taken(branch: str) -> None:
    assert settings.parse({"gitops": {"branch": branch}}, Path("invoke.yaml")).gitops.branch == branch


@pytest.mark.parametrize(
    "branch",
    ["", "@", "HEAD", "-x", "/x", "x/", "a b", "a..b", "a//b", "x.lock", ".x", "a/.b", "x.", "a@{b", "a^", "a\\b"],
)
def test_branch_names_that_git_refuses_are_refused_at_once(branch: str) -> None:
    with pytest.raises(UsageError, match="branch"):
        settings.parse({"gitops": {"branch": branch}}, Path("invoke.yaml"))
