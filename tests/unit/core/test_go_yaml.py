"""Scalars as kubectl's reader takes them; each row was seen with `kubectl config view --raw -o json`."""

import datetime as dt
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from threezone.core import go_yaml
from threezone.kubeconfig import yaml_writer

AMBIGUOUS = [
    "1e3", "433e40", "1E6", "0o17", "017", "0x1F", "0b11", "1_000", "on", "On", "off", "y", "N", "yes", "no", "null",
    "~", "", "true", "False", ".inf", "-.INF", ".nan", "2001-01-01", "190:20:30", "=", "<<", "-", "?", ":", "a: b",
    "a #b", "#a", "a:", "- a", "[a]", "{a}", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "'", '"', "\\", " a", "a ",
    "\ta", "a\n", "a\nb", "\n", "😀", "é", "\x85", "\u2028", "\ufeff", "\x00", "\x7f", "---", "...", "nan", "inf",
]  # fmt: skip

texts = st.one_of(st.sampled_from(AMBIGUOUS), st.text(st.characters(exclude_categories=["Cs"])))
trees = st.recursive(
    st.one_of(
        texts,
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def load(text: str) -> Any:
    return go_yaml.load(text.encode())[0]


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("0o17", 15), ("017", 15), ("08", 8.0), ("0x1F", 31), ("0b11", 3), ("-0b11", -3), ("1_000", 1000), ("+1", 1),
        ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("1e400", "1e400"), ("190:20:30", "190:20:30"), ("oN", "oN"),
        ("on", True), ("N", False), ("~", None), ("2001-01-01", "2001-01-01"), ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64), ("+18446744073709551615", 2.0**64), ("0o8", "0o8"),
        ("Nan", "Nan"), ("+", "+"),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_what_go_makes_of_it(plain: str, value: Any) -> None:
    seen = load(f"a: {plain}")["a"]
    assert seen == value
    assert type(seen) is type(value)


def test_quotes_and_tags_decide_before_the_look_of_a_scalar() -> None:
    assert load("{a: '1e3', b: \"on\", c: !!str 12, d: !mine 12, e: !!binary YWI=}") == {
        "a": "1e3", "b": "on", "c": "12", "d": "12", "e": "ab",
    }  # fmt: skip


def test_keys_become_strings() -> None:
    assert load("{1: a, 0x10: b, on: c, off: d, 2001-01-01: e}") == {
        "1": "a", "16": "b", "true": "c", "false": "d", "2001-01-01": "e",
    }  # fmt: skip


def test_aliases_and_merges_are_resolved() -> None:
    assert load("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\nd: {<<: [*x, {m: 4}]}") == {
        "a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}, "d": {"k": 1, "l": 2, "m": 4},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{k: 1, <<: {k: 2}}", {"k": 2}),
        ("{<<: {k: 2}, k: 1}", {"k": 1}),
        ("{<<: {k: 1}, <<: {k: 2}}", {"k": 2}),
        ("{<<: [{k: 1}, {k: 2, l: 3}]}", {"k": 1, "l": 3}),
        ("{!!merge <<: {k: 2}}", {"k": 2}),
        ("{! <<: {k: 2}}", {"k": 2}),
        ("{'<<': {k: 2}}", {"<<": {"k": 2}}),
        ("{k: &x {l: &x m, p: *x}, o: *x}", {"k": {"l": "m", "p": "m"}, "o": "m"}),
        ("[! 123, &x ! on, ! 'y', *x]", ["123", "on", "y", "on"]),
        ("[!!float 5, !!int '12', !!bool yes, !!null '', !!timestamp 2001-1-1]", [5.0, 12, True, None, "2001-1-1"]),
        ("{1.5: a, 1e6: b, 0.00001: c, 1e400: d}", {"1.5": "a", "1e+06": "b", "1e-05": "c", "1e400": "d"}),
        (f"[{'7' * 5000}, -{'7' * 5000}]", ["7" * 5000, "-" + "7" * 5000]),
        (r'["\\/", "a/b"]', ["\\/", "a/b"]),
    ],
)
def test_merges_anchors_tags_and_numbers_mean_what_they_mean_to_go(text: str, value: Any) -> None:
    assert identical(load(text), value)


def test_only_the_first_document_counts_and_the_rest_is_reported() -> None:
    assert go_yaml.load(b"a: 1\n---\nb: [")[::2] == ({"a": 1}, True)
    assert go_yaml.load(b"a: 1\n")[::2] == ({"a": 1}, False)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"a: 1\nb: [\n", 3, "did not find expected node content"),
        (b"kind: Config\n  bad: x\n", 2, "mapping values are not allowed in this context"),
        (b"a: 1\n\tb: 2\n", 2, "found a tab character"),
        (b"a: 1\nb: \xff\n", 2, "invalid leading UTF-8 octet"),
        (b"a: 1\nb: &x [*x]\n", 2, "contains itself"),
        (b"a:\n  ~: 1\n", 2, "unsupported map key: null"),
        (b"a:\n  [b]: 1\n", 2, "unsupported map key"),
        (b"a: .inf\n", 1, "unsupported value: .inf"),
        (b"a: 1\nb: !!binary '*'\n", 2, "invalid base64"),
        (b"a: 1\nb:\n  <<: 1\n", 3, "map merge requires"),
        (b"%YAML 1.2\n---\na: 1\n", 1, "incompatible"),
        (b'a: 1\nb: "h:\\/\\/x"\n', 2, "unknown escape character"),
        ('a: 1\nb: "h:\\/x"\n'.encode("utf-16"), 2, "unknown escape character"),
        (b"a: 1\nb: !!bool maybe\n", 2, "cannot decode !!str as a !!bool"),
        (b"a: 1\nb: !!int 1.5\n", 2, "cannot decode !!float as a !!int"),
        (b"a: 1\nb: !!timestamp 2001-13-01\n", 2, "as a !!timestamp"),
        (
            b"".join(b"x%d: &x%d [%s]\n" % (i, i, b",".join([b"*x%d" % (i - 1) if i else b"a"] * 9)) for i in range(8)),
            4,
            "aliasing",
        ),
        (b"[" * 5000, 1, "nested too deeply"),
        (b"a:\n" + b"- " * 100_000, 2, "nested too deeply"),
    ],
)
def test_what_kubectl_cannot_read_is_refused_with_its_line(text: bytes, line: int, words: str) -> None:
    with pytest.raises(go_yaml.Broken, match=words.replace("[", r"\[").replace(".", r"\.")) as refused:
        go_yaml.load(text)
    assert refused.value.line == line


def test_ordinary_text_stays_plain_and_doubtful_text_is_quoted() -> None:
    plain = ["https://127.0.0.1:6443", "kind-kind", "LS0tLS1CRUdJTi==", "a.b_c", "admin@kind"]
    assert yaml_writer.dump(plain).decode() == "".join(f"- {text}\n" for text in plain)
    for text in AMBIGUOUS:
        assert yaml_writer.dump([text]).decode().startswith('- "'), text


def test_a_very_long_key_is_written_so_that_it_can_be_read() -> None:
    long = {"k" * 3000: {"a": ["b"]}, "c": [{"d" * 2000: "e", "f": 1}]}
    assert load(yaml_writer.dump(long).decode()) == long
    assert yaml.safe_load(yaml_writer.dump(long)) == long


@settings(max_examples=200)
@given(trees)
def test_what_is_written_is_read_back_the_same(tree: Any) -> None:
    written = yaml_writer.dump(tree)
    assert identical(go_yaml.load(written)[0], tree)
    assert yaml_writer.dump(go_yaml.load(written)[0]) == written


@settings(max_examples=200)
@given(trees)
def test_pyyaml_which_the_python_client_uses_reads_the_same(tree: Any) -> None:
    assert identical(yaml.safe_load(yaml_writer.dump(tree)), tree)


def identical(one: Any, other: Any) -> bool:
    """Equal with equal types all the way down: for Python 1 == True == 1.0."""
    if type(one) is not type(other) or isinstance(one, dt.date):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other)))
