"""Two thousand generated kubeconfigs a run, each seen by the real kubectl before and after a change of ours.

To start kubectl costs more than all the rest, so it reads five files at a time, as a list in $KUBECONFIG. Their names
are kept apart, so that merging them hides nothing; only the first current-context of the five is seen.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from threezone.errors import UsageError
from threezone.kubeconfig import document, notation
from threezone.kubeconfig.document import BODY, Document, Section
from threezone.process import run

AT_ONCE = 5
BATCHES = 400

WORDS = [
    "1e3", "433e40", "1E6", "0o17", "017", "0x1F", "0b11", "1_000", "190:20:30", "on", "Off", "y", "N", "yes", "null",
    "~", "", "true", ".inf", ".nan", "2001-01-01", "😀", "é", 'quo"te', "it's", "back\\slash", "a: b", "a #b", "- a",
    "#", "-", "=", "<<", " space ", "tab\t", "line\nline", "\u2028", "\ufeff", "\x00", "\x07", "\x7f", "\x85",
    "\x1b[31m", "%YAML", "---", "...", "&a", "*a", "!a", "|", ">", "[a]", "{a}", "kind-kind", "a b", "arn:a:b/c",
]  # fmt: skip
digits = st.integers(0, 999)
texts = st.one_of(
    st.sampled_from(WORDS),
    st.builds("{}e{}".format, digits, digits),
    st.builds("0{}{}".format, st.sampled_from(["", "o", "x", "b"]), digits),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
base64 = st.sampled_from(["", "Q0E=", "Q0VSVA==", "S0VZ", "LS0tLS1CRUdJTg=="])
free = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with any of these fields, each of which may be null; kubectl's names have dashes."""
    named = {name.rstrip("_").replace("_", "-"): st.none() | value for name, value in fields.items()}
    return st.fixed_dictionaries({}, optional=named)


extensions = st.lists(
    st.fixed_dictionaries({"name": texts, "extension": free}), max_size=2, unique_by=lambda each: str(each["name"])
)
executable = some(
    apiVersion=texts,
    command=texts,
    args=st.lists(texts, max_size=2),
    env=st.lists(st.fixed_dictionaries({"name": texts, "value": texts}), max_size=2),
    interactiveMode=texts,
    provideClusterInfo=st.booleans(),
)
bodies: dict[Section, st.SearchStrategy[dict[str, Any]]] = {
    "clusters": some(
        server=texts,
        tls_server_name=texts,
        proxy_url=texts,
        insecure_skip_tls_verify=st.booleans(),
        certificate_authority=texts,
        certificate_authority_data=base64,
        extensions=extensions,
        unknown=free,
    ),
    "contexts": some(cluster=texts, user=texts, namespace=texts, extensions=extensions, unknown=free),
    "users": some(
        token=texts,
        tokenFile=texts,
        username=texts,
        client_certificate_data=base64,
        client_key_data=base64,
        client_key=texts,
        as_groups=st.lists(texts, max_size=2),
        as_user_extra=st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
        auth_provider=st.fixed_dictionaries({"name": texts, "config": st.dictionaries(texts, texts, max_size=2)}),
        exec=executable,
        extensions=extensions,
        unknown=free,
    ),
}


def as_json(data: Any) -> str:
    """JSON as tools write it, with what YAML does not allow raw escaped."""
    text = json.dumps(data, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def as_pyyaml(data: Any) -> str:
    """What Python tools write: PyYAML leaves `1e3` and `y` without quotes, as keys too, which nobody can mean."""
    meant = all(isinstance(notation.resolve(key), str) for key in keys(data))
    return str(yaml.safe_dump(data, sort_keys=False)) if meant else as_quoted(data)


def keys(data: Any) -> Iterator[str]:
    """All keys of all mappings."""
    if isinstance(data, dict):
        yield from data
    for inner in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from keys(inner)


def as_quoted(data: Any) -> str:
    """The same with every string quoted."""
    return str(yaml.safe_dump(data, sort_keys=False, default_style='"', allow_unicode=True))


def as_ours(data: Any) -> str:
    """Our own writing."""
    return document.dump(Document(data)).decode()


@dataclass(frozen=True)
class Case:
    """One kubeconfig as somebody wrote it, a change, and which entries the change is about."""

    written: Callable[[Any], str]
    data: Mapping[str, Any]
    change: Callable[[Document], Document]
    about: frozenset[tuple[Section, str]]
    current: bool = False  # whether it is about the current context


def others(taken: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """A name for each kubeconfig that none of them has."""
    return st.lists(texts.filter(lambda name: name not in taken), unique=True, min_size=AT_ONCE, max_size=AT_ONCE)


@st.composite
def batches(draw: st.DrawFn) -> list[Case]:
    """Kubeconfigs whose names are all different, with a change for each."""
    listed: list[dict[str, Any]] = [
        draw(some(apiVersion=st.just("v1"), kind=st.just("Config"))) for _ in range(AT_ONCE)
    ]
    taken: dict[Section, list[str]] = {}
    for section, word in BODY.items():
        taken[section] = draw(st.lists(texts, unique=True, min_size=AT_ONCE, max_size=AT_ONCE + 3))
        for name in taken[section]:
            content = draw(st.none() | bodies[section])
            item: dict[str, Any] | None = {"name": name, word: content, **draw(some(beside=free))}
            if name == "" and draw(st.booleans()):
                item = None  # an empty entry of the list
            data = listed[draw(st.integers(0, AT_ONCE - 1))]
            data.setdefault(section, []).append(item)
    for data in listed:
        for section in BODY:
            if section not in data and draw(st.booleans()):
                data[section] = draw(st.sampled_from([None, []]))
        data.update(draw(some(current_context=texts, unknown=free)))
    listed[0].update(draw(some(preferences=some(colors=st.booleans()), extensions=extensions)))
    fresh = {section: draw(others(taken[section])) for section in BODY}
    return [
        draw(cases(data, {section: fresh[section][place] for section in BODY})) for place, data in enumerate(listed)
    ]


def cases(data: Mapping[str, Any], fresh: Mapping[Section, str]) -> st.SearchStrategy[Case]:
    """A change for this kubeconfig; what it adds gets names out of `fresh`."""
    before = Document(data)
    writing = st.sampled_from([as_json, as_pyyaml, as_quoted, as_ours])
    changes = [connecting(before, fresh)]
    if document.items(before, "clusters"):
        changes.append(st.sampled_from(list(document.items(before, "clusters"))).flatmap(routing))
    if document.items(before, "contexts"):
        changes.append(
            st.sampled_from(list(document.items(before, "contexts"))).map(lambda name: removing(before, name))
        )
    return st.builds(lambda written, change: Case(written, data, *change), writing, st.one_of(changes))


Changing = tuple[Callable[[Document], Document], frozenset[tuple[Section, str]], bool]


def routing(cluster: str) -> st.SearchStrategy[Changing]:
    """Another route to this cluster."""
    return st.builds(
        lambda server, name: (
            lambda old: document.with_route(old, cluster, server, name),
            frozenset([("clusters", cluster)]),
            False,
        ),
        st.sampled_from(["https://127.0.0.1:6443", "https://[::1]:6443", "https://host.docker.internal:6443"]),
        st.sampled_from(["", "localhost"]),
    )


@st.composite
def connecting(draw: st.DrawFn, before: Document, fresh: Mapping[Section, str]) -> Changing:
    """A cluster's own kubeconfig merged in, under names that are new or there already."""
    cluster, context, user = (
        draw(st.sampled_from([fresh[section], *document.items(before, section)])) for section in BODY
    )
    source = document.put(
        Document(), "clusters", cluster, {"server": "https://new", "certificate-authority-data": "Q0E="}
    )
    source = document.put(source, "users", user, {"client-certificate-data": "Q0E=", "client-key-data": "S0VZ"})
    source = document.put(source, "contexts", context, {"cluster": cluster, "user": user})
    about: frozenset[tuple[Section, str]] = frozenset([("clusters", cluster), ("users", user), ("contexts", context)])
    if draw(st.booleans()):
        return lambda old: document.adopt(old, source, context), about, True
    return lambda old: document.merge(old, source, context), about, False


def removing(before: Document, context: str) -> Changing:
    """This context removed, with what no other context uses."""
    uses = {name: item.get("context") or {} for name, item in document.items(before, "contexts").items()}
    gone = uses.pop(context)
    about: set[tuple[Section, str]] = {("contexts", context)}
    parts: tuple[tuple[Section, str], ...] = (("clusters", "cluster"), ("users", "user"))
    for section, key in parts:
        name = gone.get(key) or ""
        if name in document.items(before, section) and name not in [use.get(key) or "" for use in uses.values()]:
            about.add((section, name))
    return lambda old: document.remove(old, context), frozenset(about), False


def ours_left_the_others(before: Document, after: Document, case: Case) -> None:
    """All but what the change is about is the same to the letter and in its order, known to kubectl or not."""
    for section in BODY:
        left = [
            [
                (name, json.dumps(item))
                for name, item in document.items(of, section).items()
                if (section, name) not in case.about
            ]
            for of in (before, after)
        ]
        assert left[0] == left[1]
    known = {*BODY, "apiVersion", "kind", "current-context"}
    rest = [json.dumps({key: value for key, value in of.data.items() if key not in known}) for of in (before, after)]
    assert rest[0] == rest[1]
    assert case.current or document.current_context(before) == document.current_context(after)


def kubectl_agrees(
    before: dict[str, Any], after: dict[str, Any], batch: Sequence[Case], ours: Sequence[Document]
) -> None:
    """kubectl reads the same entries as before, and those that were changed as we do."""
    about = frozenset().union(*(case.about for case in batch))
    current = any(case.current for case in batch)
    for section, word in BODY.items():
        one, two = ({item["name"]: item for item in seen.pop(section) or []} for seen in (before, after))
        assert {name: item for name, item in one.items() if (section, name) not in about} == {
            name: item for name, item in two.items() if (section, name) not in about
        }
        wanted = {name: item for each in ours for name, item in document.items(each, section).items()}
        assert set(two) == set(wanted)
        for name, item in two.items():
            if (section, name) in about and section == "clusters":
                assert item[word]["server"] == wanted[name][word]["server"]
    if current:
        del before["current-context"], after["current-context"]
    assert before == after


@pytest.mark.timeout(1200)  # a minute and a half on two idle cores
def test_kubectl_reads_two_thousand_generated_files_as_before_after_our_change(tmp_path: Path, kubectl: Path) -> None:
    seen = 0

    def view(paths: Sequence[Path], *, check: bool = True) -> dict[str, Any] | None:
        # It is a short run: what Go saves by its garbage collector and its threads is not worth their price.
        env = {"KUBECONFIG": ":".join(map(str, paths)), "GOGC": "off", "GOMAXPROCS": "1"}
        done = run([kubectl, "config", "view", "--raw", "-o", "json"], timeout=60, env=env, check=check)
        read: dict[str, Any] | None = json.loads(done.stdout) if done.exit_code == 0 else None
        return read

    def look(batch: Sequence[Case], directory: Path, pool: ThreadPoolExecutor) -> None:
        befores, afters, ours = [], [], []
        for number, case in enumerate(batch):
            befores.append(directory / f"{number}-before")
            afters.append(directory / f"{number}-after")
            befores[-1].write_bytes(case.written(case.data).encode())
            try:
                before = document.parse(befores[-1].read_bytes())
            except UsageError:  # a number or a bool in the place of a name, as PyYAML wrote it
                assert case.written is as_pyyaml
                assert view(befores[-1:], check=False) is None, "kubectl reads what we refuse"
                befores[-1].write_bytes(as_quoted(case.data).encode())
                before = document.parse(befores[-1].read_bytes())
            afters[-1].write_bytes(document.dump(case.change(before)))
            after = document.parse(afters[-1].read_bytes())
            assert document.dump(after) == afters[-1].read_bytes()
            assert case.change(after) == after
            ours_left_the_others(before, after, case)
            ours.append(after)
        one, two = pool.map(view, (befores, afters))
        assert one is not None
        assert two is not None
        kubectl_agrees(one, two, batch, ours)

    with ThreadPoolExecutor(2) as pool:

        @settings(
            max_examples=BATCHES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        )
        @given(batches())
        def check(batch: list[Case]) -> None:
            nonlocal seen
            with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
                look(batch, Path(directory), pool)
            seen += len(batch)

        check()
    assert seen >= 2000
