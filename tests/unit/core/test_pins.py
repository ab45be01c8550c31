from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threezone.core import pins
from threezone.core.errors import UsageError

SUM = "ab" * 32


def project(root: Path, text: str) -> Path:
    (root / "local").mkdir()
    (root / "local" / "pins.toml").write_text(text)
    return root


def test_the_packaged_pins_cover_every_platform(tmp_path: Path) -> None:
    tools = pins.tools(tmp_path)
    for pin in (tools.kind, tools.kubectl, tools.flux):
        sums = msgspec.structs.asdict(pin.sha256).values()
        assert None not in sums
        assert len(set(sums)) == 4
        assert pin.base.startswith("https://")
    assert (tools.kind.version, tools.kubectl.version, tools.flux.version) == ("0.31.0", "1.35.0", "2.7.3")


def test_a_project_changes_single_keys(tmp_path: Path) -> None:
    tools = pins.tools(project(tmp_path, '[tools.kind]\nbase = "https://mirror.example/kind"\n'))
    packaged = pins.tools(tmp_path / "another")
    assert tools.kind == msgspec.structs.replace(packaged.kind, base="https://mirror.example/kind")
    assert tools.flux == packaged.flux


def test_checksums_of_another_version_are_not_kept(tmp_path: Path) -> None:
    text = f'[tools.kind]\nversion = "0.32.0"\n[tools.kind.sha256]\nlinux-arm64 = "{SUM}"\n'
    assert pins.tools(project(tmp_path, text)).kind.sha256 == pins.Sums(linux_arm64=SUM)


def test_the_same_version_given_again_keeps_its_checksums(tmp_path: Path) -> None:
    kind = pins.tools(project(tmp_path, '[tools.kind]\nversion = "0.31.0"\n')).kind
    assert kind == pins.tools(tmp_path / "another").kind


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[tools.kind]\nverzion = "1"', "tools.kind.verzion: unknown key"),
        ("[tools.kind]\nversion = 31", "tools.kind.version: Expected `str`, got `int`"),
        ('[tools.kind]\nversion = "latest"', "tools.kind.version: Expected `str` matching regex"),
        ('[tools.kind.sha256]\nlinux-amd64 = "AB"', "tools.kind.sha256.linux-amd64: Expected `str` matching regex"),
        ("[tools.kind.sha256]\nlinux-mips = 1", "tools.kind.sha256.linux-mips: unknown key"),
        ("tools = 1", "tools: Expected `object`, got `int`"),
        ('[tools.helmfile]\nversion = "1.0.0"', "tools.helmfile: unknown key"),
        ("[tool.kind]", "unknown section tool; known sections: tools"),
        ("[tools.kind", "is not valid TOML"),
    ],
)
def test_what_does_not_fit_is_told_with_key_and_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        pins.tools(project(tmp_path, text))
    assert str(tmp_path / "local" / "pins.toml") in caught.value.message
    assert problem in caught.value.message


def test_a_fault_of_our_own_is_not_blamed_on_the_project(tmp_path: Path) -> None:
    class Other(msgspec.Struct, forbid_unknown_fields=True):
        kind: int

    with pytest.raises(UsageError) as caught:
        pins.section("tools", Other, project(tmp_path, '[tools.flux]\nbase = "https://mirror.example"\n'))
    assert str(pins.PACKAGED) in caught.value.message


keys = st.sampled_from(["a", "b", "version", "sha256"])
tables: Any = st.recursive(
    st.dictionaries(keys, st.integers(0, 3), max_size=3), lambda inner: st.dictionaries(keys, inner, max_size=3)
)


def leaves(table: Any, *path: str) -> set[tuple[Any, ...]]:
    if not isinstance(table, dict):
        return {(*path, table)}
    return {leaf for key, value in table.items() for leaf in leaves(value, *path, key)}


@given(base=tables, over=tables)
def test_what_is_overridden_wins_and_merging_is_repeatable(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = msgspec.json.encode([base, over])
    merged = pins.merge(base, over)
    assert leaves(over) <= leaves(merged) <= leaves(over) | leaves(base)
    assert pins.merge(merged, over) == merged
    assert pins.merge(base, {}) == base
    assert msgspec.json.encode([base, over]) == before


@pytest.mark.parametrize(
    ("asked", "version"),
    [("", "2.7.3"), ("2.7", "2.7.3"), ("2.7.5", "2.7.5"), ("2.8", "2.8.8"), ("2.9", "2.9.5"), ("2.9.5", "2.9.5")],
)
def test_the_settings_choose_a_version_of_flux_with_its_checksums(tmp_path: Path, asked: str, version: str) -> None:
    (tmp_path / "invoke.yaml").write_text(f"threezone: {{flux: {{version: '{asked}'}}}}\n")
    tools, packaged = pins.tools(tmp_path), pins.tools(tmp_path / "another")
    assert tools.flux.version == version
    assert tools.flux.sha256 == (packaged.flux.sha256 if version == "2.7.3" else packaged.flux.others[version])
    assert tools.flux.sha256.linux_amd64 is not None
    assert tools.flux.path == packaged.flux.path
    assert (tools.kind, tools.kubectl) == (packaged.kind, packaged.kubectl)


def test_an_edited_setting_is_read_again(tmp_path: Path) -> None:
    for asked in ("2.9.5", "2.8.8", ""):
        (tmp_path / "invoke.yaml").write_text(f"threezone: {{flux: {{version: '{asked}'}}}}\n")
        assert pins.tools(tmp_path).flux.version == (asked or "2.7.3")


def test_a_flux_that_is_not_pinned_has_no_checksums_and_a_minor_version_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: 2.10.0}}\n")
    flux = pins.tools(tmp_path).flux
    assert (flux.version, flux.sha256) == ("2.10.0", pins.Sums())
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: '2.10'}}\n")
    with pytest.raises(
        UsageError, match=r"no patch version of Flux 2\.10 is pinned; known are 2\.7\.3, .*2\.9\.5"
    ) as caught:
        pins.tools(tmp_path)
    assert '[tools.flux.others."2.10.x"]' in (caught.value.fix or "")


def test_a_team_pins_another_version_and_has_known_checksums_of_others(tmp_path: Path) -> None:
    text = f'[tools.kind]\nversion = "0.33.0"\n[tools.flux.others."2.10.0"]\nlinux-arm64 = "{SUM}"\n'
    root = project(tmp_path, text)
    (root / "invoke.yaml").write_text("threezone: {flux: {version: '2.10'}}\n")
    tools = pins.tools(root)
    assert tools.kind.sha256 == tools.kind.others["0.33.0"] != pins.Sums()
    assert (tools.flux.version, tools.flux.sha256) == ("2.10.0", pins.Sums(linux_arm64=SUM))


def test_no_two_versions_of_a_program_have_the_same_checksum(tmp_path: Path) -> None:
    tools = pins.tools(tmp_path)
    for pin in (tools.kind, tools.kubectl, tools.flux):
        every = [pin.sha256, *pin.others.values()]
        sums = [value for each in every for value in msgspec.structs.asdict(each).values() if value]
        assert len(sums) == len(set(sums)) > 4
