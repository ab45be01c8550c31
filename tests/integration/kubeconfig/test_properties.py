"""Two thousand generated kubeconfigs a run, each seen by the real kubectl before and after a change of ours.

To start kubectl costs more than all the rest, so it reads five files at a time, as a list in $KUBECONFIG. Their names
are kept apart, so that merging them hides nothing; only the first current-context of the five is seen.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from threezone.core import go_yaml
from threezone.core.errors import UsageError
from threezone.core.process import run
from threezone.kubeconfig import document
from threezone.kubeconfig.document import BODY, Document, Section

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
    meant = all(isinstance(go_yaml.resolve(key), str) for key in keys(data))
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
    current: bool  # whether it is about the current context
    server: str  # what its cluster's server has to be then, "" where the change removes


HEADS: list[dict[str, Any]] = [{}, {"apiVersion": "v1", "kind": "Config"}, {"kind": None, "apiVersion": ""}]
ABSENT: list[dict[str, Any]] = [{}, {"clusters": None, "users": []}, {"clusters": [], "contexts": None, "users": None}]
BESIDE: list[dict[str, Any]] = [{}, {"beside": ["kept", 1.5, None]}, {"1e3": "0o17", "on": {"y": "~"}}]
NOTES: dict[str, Any] = {"preferences": {"colors": True}, "extensions": [{"name": "on", "extension": {"1e3": "y"}}]}


@st.composite
def batches(draw: st.DrawFn) -> list[Case]:
    """Kubeconfigs whose names are all different, with a change for each."""
    listed: list[dict[str, Any]] = [{**draw(st.sampled_from(HEADS))} for _ in range(AT_ONCE)]
    listed[0].update(draw(st.sampled_from([{}, NOTES])))
    names = draw(st.lists(texts, unique=True, min_size=2 * AT_ONCE, max_size=2 * AT_ONCE + 3))
    fresh, taken = names[:AT_ONCE], names[AT_ONCE:]
    for section, word in BODY.items():
        for name in taken:
            content, beside = draw(st.none() | bodies[section]), draw(st.sampled_from(BESIDE))
            # An entry of the list may be empty; its name is empty then.
            item = None if name == "" and content is None else {"name": name, word: content, **beside}
            listed[draw(st.integers(0, AT_ONCE - 1))].setdefault(section, []).append(item)
    for place, data in enumerate(listed):
        listed[place] = {**draw(st.sampled_from(ABSENT)), **data, **draw(some(current_context=texts, unknown=free))}
    return [draw(cases(data, name)) for data, name in zip(listed, fresh, strict=True)]


def cases(data: Mapping[str, Any], fresh: str) -> st.SearchStrategy[Case]:
    """A change for this kubeconfig; what it adds is called `fresh`."""
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


Changing = tuple[Callable[[Document], Document], frozenset[tuple[Section, str]], bool, str]


def routing(cluster: str) -> st.SearchStrategy[Changing]:
    """Another route to this cluster."""
    return st.builds(
        lambda server, name: (
            lambda old: document.with_route(old, cluster, server, name),
            frozenset([("clusters", cluster)]),
            False,
            server,
        ),
        st.sampled_from(["https://127.0.0.1:6443", "https://[::1]:6443", "https://host.docker.internal:6443"]),
        st.sampled_from(["", "localhost"]),
    )


@st.composite
def connecting(draw: st.DrawFn, before: Document, fresh: str) -> Changing:
    """A cluster's own kubeconfig merged in, under names that are new or there already."""
    cluster, context, user = (draw(st.sampled_from([fresh, *document.items(before, section)])) for section in BODY)
    source = document.put(
        Document(), "clusters", cluster, {"server": "https://new", "certificate-authority-data": "Q0E="}
    )
    source = document.put(source, "users", user, {"client-certificate-data": "Q0E=", "client-key-data": "S0VZ"})
    source = document.put(source, "contexts", context, {"cluster": cluster, "user": user})
    about: frozenset[tuple[Section, str]] = frozenset([("clusters", cluster), ("users", user), ("contexts", context)])
    if draw(st.booleans()):
        return lambda old: document.adopt(old, source, context), about, True, "https://new"
    return lambda old: document.merge(old, source, context), about, False, "https://new"


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
    return lambda old: document.remove(old, context), frozenset(about), False, ""


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
    for section, name in case.about:
        was, now = (document.items(of, section).get(name) for of in (before, after))
        if was and now:
            kept = [{**item, BODY[section]: foreign(item.get(BODY[section]))} for item in ({"name": name, **was}, now)]
            assert json.dumps(kept[0]) == json.dumps(kept[1])
    known = {*BODY, "apiVersion", "kind", "current-context"}
    rest = [json.dumps({key: value for key, value in of.data.items() if key not in known}) for of in (before, after)]
    assert rest[0] == rest[1]
    assert case.current or document.current_context(before) == document.current_context(after)


def foreign(content: Mapping[str, Any] | None) -> dict[str, Any]:
    """What no change of ours is about in an entry that it is about."""
    return {
        key: value
        for key, value in (content or {}).items()
        if key in ("unknown", "extensions", "namespace", "as-groups")
    }


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
        for case in batch:
            for name in (name for kind, name in case.about if kind == section == "clusters" and case.server):
                assert two[name][word]["server"] == case.server
    if current:
        del before["current-context"], after["current-context"]
    assert before == after


@dataclass(frozen=True)
class Rewritten:
    """Kubeconfigs with a change of ours made: the files before and after, and what we read in the latter."""

    batch: Sequence[Case]
    before: Sequence[str]
    after: Sequence[str]
    ours: Sequence[Document]


def rewrite(batch: Sequence[Case], directory: Path) -> tuple[Rewritten, list[str]]:
    """Write the files and change them; what we refuse is set aside for kubectl and written with quotes instead."""
    befores, afters, ours, refused = [], [], [], []
    for number, case in enumerate(batch):
        path, changed = directory / f"{number}-before", directory / f"{number}-after"
        path.write_bytes(case.written(case.data).encode())
        try:
            before = document.parse(path.read_bytes())
        except UsageError:  # a number or a bool in the place of a name, as PyYAML wrote it
            assert case.written is as_pyyaml
            refused.append(str(path.rename(directory / f"{number}-refused")))
            path.write_bytes(as_quoted(case.data).encode())
            before = document.parse(path.read_bytes())
        changed.write_bytes(document.dump(case.change(before)))
        after = document.parse(changed.read_bytes())
        assert document.dump(after) == changed.read_bytes()
        assert case.change(after) == after
        ours_left_the_others(before, after, case)
        befores.append(str(path))
        afters.append(str(changed))
        ours.append(after)
    return Rewritten(batch, befores, afters, ours), refused


# A small process starts kubectl far cheaper than this one does. What Go saves in a short run by collecting garbage and
# by threads is not worth their price.
VIEWER = """
import json, os, pathlib, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
kubectl, lists = sys.argv[1], pathlib.Path(sys.argv[2])

def view(paths):
    env = {**os.environ, "KUBECONFIG": ":".join(paths), "GOGC": "off", "GOMAXPROCS": "1"}
    done = subprocess.run([kubectl, "config", "view", "--raw", "-o", "json"], env=env, capture_output=True, text=True)
    return [done.stdout, done.stderr] if done.returncode == 0 else [None, done.stderr]

with ThreadPoolExecutor(os.cpu_count()) as pool:
    lists.write_text(json.dumps(list(pool.map(view, json.loads(lists.read_text())))))
"""


def views(kubectl: Path, lists: Sequence[Sequence[str]], scratch: Path) -> list[tuple[str | None, str]]:
    """What kubectl reads in each list of files as JSON, or None, and what it says."""
    scratch.write_text(json.dumps(lists))
    run([sys.executable, "-c", VIEWER, kubectl, scratch], timeout=1200)
    return [(seen, said) for seen, said in json.loads(scratch.read_text())]


@pytest.mark.timeout(1800)  # a minute and a half on two cores
def test_kubectl_reads_two_thousand_generated_files_as_before_after_our_change(tmp_path: Path, kubectl: Path) -> None:
    rewritten: list[Rewritten] = []
    refused: list[str] = []

    @settings(
        max_examples=BATCHES,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(batches())
    def generate(batch: list[Case]) -> None:
        files, no_files = rewrite(batch, Path(tempfile.mkdtemp(dir=tmp_path)))
        rewritten.append(files)
        refused.extend(no_files)

    generate()
    assert sum(len(each.batch) for each in rewritten) >= 2000
    lists = [files for each in rewritten for files in (each.before, each.after)]
    seen = iter(views(kubectl, [*lists, *([path] for path in refused)], tmp_path / "lists"))
    for each in rewritten:
        (before, said), (after, also_said) = next(seen), next(seen)
        assert before is not None, f"{each.before}: {said}"
        assert after is not None, f"{each.after}: {also_said}"
        kubectl_agrees(json.loads(before), json.loads(after), each.batch, each.ours)
    assert len(refused) > 20
    for path, (content, _) in zip(refused, seen, strict=True):
        assert content is None, f"kubectl reads {path}, which we refuse"
