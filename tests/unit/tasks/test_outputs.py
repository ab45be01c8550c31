"""The types of JSON outputs: every task with --json has one, and each gives a schema that is valid."""

import inspect
import sys

import jsonschema
import msgspec
import pytest

from threezone.core.process import run
from threezone.tasks import collection
from threezone.tasks.outputs import TYPES, schema


def test_every_task_with_json_has_a_type() -> None:
    whole = collection()
    assert {name for name in whole.task_names if "json" in inspect.signature(whole[name].body).parameters} == set(TYPES)


@pytest.mark.parametrize("task", TYPES)
def test_a_schema_is_valid_and_refuses_another_shape(task: str) -> None:
    made = schema(task)
    jsonschema.Draft202012Validator.check_schema(made)
    for wrong in ("text", {"no": "such key"}, [{"no": "such key"}]):
        assert list(jsonschema.Draft202012Validator(made).iter_errors(wrong)), wrong


def test_a_key_that_is_not_declared_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="more"):
        msgspec.convert({"recipient": "age1", "files": [], "new": True, "more": 1}, TYPES["secret.rotate"], strict=True)


@pytest.mark.real_program
@pytest.mark.parametrize(("task", "code"), [("status", 0), ("nothing", 1)])
def test_a_schema_is_printed(task: str, code: int) -> None:
    done = run([sys.executable, "-m", "threezone.tasks.outputs", task], timeout=60, check=False)
    assert (done.exit_code, '"$schema"' in done.stdout) == (code, code == 0)
