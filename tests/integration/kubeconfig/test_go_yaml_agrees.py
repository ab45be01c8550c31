"""The reader of kubeconfigs beside the real kubectl: generated documents with merges, anchors, tags and every scalar.

An extension may hold any mapping, and kubectl shows it as JSON; so a document is tried as an extension.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threezone.core import go_yaml
from threezone.core.process import run

HEAD = "kind: Config\nx: &x {k: 1, a: 2}\ny: &y {a: 3, <<: *x}\nz: &z [*x, *y]\nextensions:\n- name: e\n  extension:\n"
SCALARS = [
    "1e3", "433e40", "0o17", "017", "08", "0x1F", "0b11", "1_000", "_1", "on", "On", "y", "yes", "null", "~", "true",
    "2001-01-01", "2001-1-1 10:00:00", "190:20:30", "=", "<<", "nan", "+1", "-0", "-.5", "5.", "0b_1", "1e400", "..",
    "'<<'", r'"a\tb"', r'"\x41"', r'"a\/b"', r'"a\\/b"', "'it''s'", "!!str 12", "!!int 12", "!!int '12'", "!!int x",
    "!!float 5", "!!float x", "!!bool yes", "!!bool maybe", "!!bool 'on'", "!!null ''", "!!null x", "!x 12", "! 12",
    "! on", "! '12'", "!!timestamp 2001-01-01", "!!timestamp x", "!!timestamp 2001-13-01", "!!binary YWI=",
    "!!binary '*'", "!!merge <<", "&x 12", "&x ! on", "*x", "*y", "*z", "18446744073709551616", "7" * 40, "00", "-0.0",
    "0X1f", "é", '"😀"', "a b", "http://h:1", "a#b", "!!set {a}", "!!omap [a: 1]",
]  # fmt: skip
KEYS = [
    "a", "b", "<<", "<<", "<<", "'<<'", "!!merge <<", "! <<", "!!str <<", "1", "'1'", "on", "0x10", "1.5", "1e6",
    "server", "&x a", "*x", "2001-01-01", "'a'", "~",
]  # fmt: skip
values = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.builds(
            "{}{}".format,
            st.sampled_from(["", "", "&x ", "&y ", "!!map "]),
            st.lists(st.builds("{}: {}".format, st.sampled_from(KEYS), inner), max_size=4).map(
                lambda pairs: "{" + ", ".join(pairs) + "}"
            ),
        )
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=6,
)
extensions = st.lists(st.builds("    {}: {}\n".format, st.sampled_from(KEYS), values), min_size=1, max_size=5)
REFUSED = "refused"


def plain(value: Any) -> Any:
    """Numbers as floats: kubectl's JSON has large ones with fewer digits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def ours(text: str) -> Any:
    try:
        data = go_yaml.load(text.encode())[0]
    except go_yaml.Broken:
        return REFUSED
    return plain(data["extensions"][0]["extension"])


def theirs(kubectl: Path, file: Path, text: str) -> Any:
    file.write_text(text, encoding="utf-8")
    command: list[str | Path] = [kubectl, "config", "view", "--raw", "-o", "json", "--kubeconfig", file]
    done = run(command, timeout=30, check=False)
    return plain(json.loads(done.stdout)["extensions"][0]["extension"]) if done.exit_code == 0 else REFUSED


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extensions)
def test_a_generated_document_means_what_it_means_to_kubectl(kubectl: Path, tmp_path: Path, lines: list[str]) -> None:
    text = HEAD + "".join(lines)
    mine = ours(text)
    if mine == REFUSED and "~: " in text:  # a null that is a key, but no longer after a later pair of the same key
        return
    if mine == theirs(kubectl, tmp_path / "config", text):
        return
    # Two keys such as 1 and '1' are one key in JSON, and kubectl takes the value of either: Go's maps have no order.
    assert mine in [theirs(kubectl, tmp_path / "config", text) for _ in range(20)]


@pytest.mark.parametrize("scalar", SCALARS)
def test_every_scalar_means_what_it_means_to_kubectl(kubectl: Path, tmp_path: Path, scalar: str) -> None:
    text = f"{HEAD}    v: {scalar}\n"
    assert ours(text) == theirs(kubectl, tmp_path / "config", text)


@pytest.mark.parametrize(
    "file",
    [
        "%YAML 1.2\n---\nkind: Config\nextensions: [{name: e, extension: {a: 1}}]\n",
        "%YAML 1.1\n---\nkind: Config\nextensions: [{name: e, extension: {a: 1}}]\n",
        '{"kind":"Config","extensions":[{"name":"e","extension":{"a":"https:\\/\\/h"}}]}',
        HEAD + "    a: &a [" + ", ".join(["*z"] * 9) + "]\n    b: &b [" + ", ".join(["*a"] * 9) + "]\n",
        HEAD + "".join(f"    k{i}: &k{i} [{', '.join([f'*k{i - 1}' if i else 'a'] * 9)}]\n" for i in range(5)),
        f"{HEAD}    v: {'7' * 5000}\n",
        f"{HEAD}    v: -0x{'f' * 5000}\n",
        f"{HEAD}    v: &v [*v]\n",
    ],
    ids=["YAML 1.2", "YAML 1.1", "escaped slash", "aliases", "too many aliases", "5000 digits", "hex digits", "itself"],
)
def test_a_file_means_what_it_means_to_kubectl(kubectl: Path, tmp_path: Path, file: str) -> None:
    assert ours(file) == theirs(kubectl, tmp_path / "config", file)
