"""Each exit code has one meaning, and docs/exit-codes.md agrees with errors.py."""

import re
from pathlib import Path

from threezone.core import errors
from threezone.tasks import runtime

DOCUMENT = Path(__file__).parents[3] / "docs" / "exit-codes.md"


def kinds(root: type[errors.ThreezoneError] = errors.ThreezoneError) -> list[type[errors.ThreezoneError]]:
    return [root, *(below for kind in root.__subclasses__() for below in kinds(kind))]


def test_every_error_class_has_its_own_code() -> None:
    own = [kind for kind in kinds() if "exit_code" in vars(kind)]
    codes = [kind.exit_code for kind in own]
    assert len(codes) == len(set(codes)), {kind.__name__: kind.exit_code for kind in own}
    assert all(0 < code < 126 for code in codes), "126 and above belong to shells and signals"


def test_the_document_lists_the_codes_of_errors_py() -> None:
    rows = re.findall(r"^\| (\d+) \| `?(\w+)`? \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    documented = {int(code): name for code, name in rows}
    assert len(rows) == len(documented), "a code is listed twice"
    expected = {kind.exit_code: kind.__name__ for kind in kinds() if "exit_code" in vars(kind)}
    assert documented == {0: "success", runtime.INTERRUPTED: "interrupted", **expected}
