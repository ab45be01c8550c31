"""The JSON Schema of invoke.yaml takes what settings.py takes, and refuses what it refuses."""

from pathlib import Path
from typing import Any

import jsonschema  # check-jsonschema brings it
import msgspec.structs
import pytest
import yaml

from threezone.core import schema, settings
from threezone.core.errors import UsageError

ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(schema.invoke_yaml())

WRONG: list[dict[str, Any]] = [
    {"chanel": "auto"}, {"channel": "fast"}, {"cluster": {"workers": "2"}}, {"cluster": {"workers": -1}},
    {"cluster": {"ports": "8080:80"}}, {"cluster": {"kubernetes": 1.35}}, {"cluster": {"kubernetes": "latest"}},
    {"cluster": []}, {"gitops": {"timeout": 0}}, {"app": {"port": 70000}}, {"registry": {"mirrors": ["no host"]}},
]  # fmt: skip


def test_our_own_file_and_an_empty_one_are_valid() -> None:
    for document in (
        yaml.safe_load((ROOT / "invoke.yaml").read_text()),
        None,
        {"threezone": None},
        {"run": {"pty": 1}},
    ):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("section", WRONG, ids=str)
def test_what_the_settings_refuse_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        settings.parse(section, Path("invoke.yaml"))
    assert not VALIDATOR.is_valid({"threezone": section})


def test_every_declared_setting_is_in_it_with_its_default() -> None:
    definitions = schema.invoke_yaml()["$defs"]
    defaults = msgspec.to_builtins(settings.Settings())
    assert set(definitions["Settings"]["properties"]) == set(defaults)
    for field in msgspec.structs.fields(settings.Settings):
        if field.name != "channel":
            described = definitions[field.type.__name__]["properties"]
            assert {key: value.get("default") for key, value in described.items()} == defaults[field.name]


def test_options_are_described_by_their_help() -> None:
    described = schema.invoke_yaml()["$defs"]["Cluster"]["properties"]
    for field, option in settings.options(settings.ClusterOptions).items():
        if field != "config":  # a setting of its own
            assert described[field]["description"] == option.help
