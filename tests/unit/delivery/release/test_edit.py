"""An image is set in the text of a kustomization, and everything else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threezone.core import safe_yaml
from threezone.core.errors import UsageError
from threezone.delivery.release import edit

HEAD = "# about this file\nresources:\n  - a.yaml # first\n"
CASES = {
    "no list yet": (HEAD, f'{HEAD}images:\n  - name: app\n    newName: r/app\n    newTag: "t1"\n'),
    "no line end": ("resources: []", 'resources: []\nimages:\n  - name: app\n    newName: r/app\n    newTag: "t1"\n'),
    "another image": (
        f"{HEAD}images:\n- name: b # b\n  newTag: v1\n# c\nkey: x-\n",
        f'{HEAD}images:\n- name: b # b\n  newTag: v1\n- name: app\n  newName: r/app\n  newTag: "t1"\n# c\nkey: x-\n',
    ),
    "a tag": (
        "images:\n  - name: app # ours\n    newName: r/app\n    newTag: v1 # of the release\n",
        'images:\n  - name: app # ours\n    newName: r/app\n    newTag: "t1" # of the release\n',
    ),
    "an entry without a tag": (
        "images:\n  - name: app # ours\n  # below\nnamePrefix: x-\n",
        'images:\n  - name: app # ours\n    newName: r/app\n    newTag: "t1"\n  # below\nnamePrefix: x-\n',
    ),
    "the name is not first": (
        "images:\n- newTag: v1\n  name: app\n",
        'images:\n- newTag: "t1"\n  name: app\n  newName: r/app\n',
    ),
    "a digest": (
        "images:\n- name: app\n  digest: sha256:1\n",
        'images:\n- name: app\n  newName: r/app\n  newTag: "t1"\n',
    ),
    "in one line": (
        "images: [{name: app, newTag: v1}] # all\n",
        'images: [{name: "app", newTag: "t1", newName: "r/app"}] # all\n',
    ),
    "line ends of Windows": (
        "images:\r\n- name: app\r\n",
        'images:\r\n- name: app\r\n  newName: r/app\r\n  newTag: "t1"\r\n',
    ),
    "not ASCII": (
        "# größe 名\nimages:\n- name: app # ñ\n  newTag: v1 # ü\n",
        '# größe 名\nimages:\n- name: app # ñ\n  newName: r/app\n  newTag: "t1" # ü\n',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_image_is_set_and_the_rest_stays(case: str) -> None:
    before, after = CASES[case]
    assert edit.with_image(before, "app", "r/app", "t1") == after
    assert edit.with_image(after, "app", "r/app", "t1") == after, "again, there is nothing to do"


def test_without_a_new_name_the_old_one_stays() -> None:
    after = edit.with_image("images:\n- name: app\n  newName: team/app\n  newTag: v1\n", "app", "", "t1")
    assert edit.entry(after, "app") == {"name": "app", "newName": "team/app", "newTag": "t1"}


@pytest.mark.parametrize(
    "text",
    [
        "images: []\n",
        "images:\n",
        "{resources: [a.yaml]}\n",
        "images:\n- digest: sha256:1\n  name: app\n",
        "images: &all\n- &app\n  name: app\nother: *all\n",
        "a: 1\n---\nb: 2\n",
        "- a list\n",
        "images: [",
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        edit.with_image(text, "app", "", "t1")
    assert refused.value.fix


NAMES = st.sampled_from(["app", "team/app", "localhost:5001/app", "ghcr.io/team/app"])
ENTRY = st.fixed_dictionaries({"name": NAMES}, optional={"newTag": st.sampled_from(["v1", "1e3", "007"])})


@given(entries=st.lists(ENTRY, unique_by=lambda each: each["name"]), name=NAMES, comment=st.sampled_from(["", " # c"]))
def test_only_the_named_entry_changes(entries: list[dict[str, str]], name: str, comment: str) -> None:
    lines = ["namespace: x", *(["images:"] if entries else [])]
    for each in entries:
        lines += [f"  - name: {each['name']}{comment}"]
        lines += [f'    newTag: "{each["newTag"]}"{comment}'] if "newTag" in each else []
    text = "\n".join([*lines, "resources: [a.yaml]", ""])
    after = edit.with_image(text, name, "", "content-1")
    others = [each for each in edit.entries(after) if each["name"] != name]
    assert others == [each for each in entries if each["name"] != name]
    assert edit.entry(after, name) == {"name": name, "newTag": "content-1"}
    assert after.count("#") == text.count("#")
    assert safe_yaml.load(after)["resources"] == ["a.yaml"]
