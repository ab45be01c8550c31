"""Options are declared once: in a parameter's annotation, or in a field of a settings struct."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import invoke
import msgspec
import pytest
import yaml
from invoke.parser import ParserContext
from tests.documents import contexts

from threezone.core import settings
from threezone.core.errors import UsageError
from threezone.core.settings import ClusterOptions, option
from threezone.tasks import collection, options
from threezone.tasks.ci import PipelineOptions
from threezone.tasks.runtime import task

ROOT = Path(__file__).parents[3]
DECLARING = ("up", "cluster.create", "cluster.plan")


class Larger(ClusterOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cluster's options with one more."""

    zones: Annotated[int, option("how many availability zones")] = 0
    racks: Annotated[tuple[str, ...], option("a rack; repeatable", flag="rack")] = ()


NOTHING = Larger()


def parsed(made: "invoke.Task[Any]", words: list[str]) -> ParserContext:
    (context,) = invoke.Collection(made).to_contexts()
    return invoke.parser.Parser(contexts=[context]).parse_argv(["demo", *words])[0]


def test_a_new_field_of_a_struct_is_an_option_a_typed_value_and_a_key() -> None:
    given: list[Larger] = []

    @task
    def demo(changes: Larger = NOTHING) -> None:
        """Show the options."""
        given.append(changes)

    context = parsed(demo, ["--zones", "3", "--rack", "a", "--rack", "b", "--port", "1:2"])
    helps = dict(context.help_tuples())
    assert helps["--zones=INT"] == "how many availability zones"
    demo(invoke.Context(), **context.as_kwargs)
    assert given == [Larger(zones=3, racks=("a", "b"), ports=("1:2",))]
    assert msgspec.convert({"zones": 3, "racks": ["a"]}, Larger) == Larger(zones=3, racks=("a",))


def test_without_options_a_struct_has_its_defaults() -> None:
    given: list[Larger] = []

    @task
    def demo(changes: Larger = NOTHING) -> None:
        given.append(changes)

    demo(invoke.Context(), **parsed(demo, []).as_kwargs)
    demo(invoke.Context())
    assert given == [NOTHING, NOTHING]


@pytest.mark.parametrize("name", DECLARING)
def test_the_tasks_that_declare_a_cluster_have_every_option_of_it(name: str) -> None:
    assert {f"--{each.flag}" for each in settings.options(ClusterOptions).values()} <= set(contexts()[name].flags)


def test_the_pipelines_share_their_options() -> None:
    flags = {f"--{each.flag}" for each in settings.options(PipelineOptions).values()} | {"--runner"}
    assert set(contexts()["ci.gitlab"].flags) - {"--no-stdout", "--no-yes"} == flags
    assert set(contexts()["ci.gitlab"].flags) == set(contexts()["ci.github"].flags)


def declared_tasks(namespace: invoke.Collection) -> Iterator["invoke.Task[Any]"]:
    yield from namespace.tasks.values()
    for below in namespace.collections.values():
        yield from declared_tasks(below)


def test_every_option_of_every_task_is_explained() -> None:
    every = [
        (task.name, parameter)
        for task in declared_tasks(collection())
        for parameter in list(inspect.signature(task.body).parameters.values())[1:]
    ]
    assert len(every) > 200
    assert [(name, each.name) for name, each in every if not each.annotation.__metadata__[0]] == []


def test_our_own_settings_file_spells_out_every_option_of_the_cluster() -> None:
    spelled = yaml.safe_load((ROOT / "invoke.yaml").read_text(encoding="utf-8"))["threezone"]["cluster"]
    assert set(settings.options(ClusterOptions)) <= set(spelled)
    assert set(spelled) == {field.name for field in msgspec.structs.fields(settings.Cluster)}


def test_the_documented_table_has_every_option_of_the_cluster() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    table = page.partition("## Three layers")[2].partition("\n\n")[0]
    flags = re.findall(r"`--([a-z-]+)", table)
    keys = re.findall(r"`([a-z_]+)(?::[^`]*)?`", table)
    for field, declared in settings.options(ClusterOptions).items():
        assert declared.flag in flags, field
        assert field in keys, field
        assert declared.place.replace("nodes[].image", "image") in table


def test_the_options_of_flags_and_settings_reach_the_declared_cluster(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    (project / "invoke.yaml").write_text(
        "threezone: {cluster: {config: kind.yaml, feature_gates: [AllAlpha=true], sets: [networking.ipFamily=ipv6]}}\n"
    )
    declared = options.open_lab(changes=ClusterOptions(feature_gates=("AllBeta=false",))).declared
    assert declared.content["featureGates"] == {"AllAlpha": True, "AllBeta": False}
    assert declared.networking == {"ipFamily": "ipv6"}
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": "sauce"},
        {"name": "lab", "context": "theirs"},
        {"changes": ClusterOptions(kubernetes="latest")},
        {"name": ".."},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        options.open_lab(**wrong)


def test_words_are_separated_by_commas() -> None:
    assert options.words(" a, b,,c ") == ["a", "b", "c"]
    assert options.words("") == []
