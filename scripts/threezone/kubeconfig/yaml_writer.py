"""Write YAML that all readers understand in the same way.

Every string that YAML 1.1, YAML 1.2 and Go may read differently is written with quotes.
"""

from __future__ import annotations

import re
from typing import Any

# Written without quotes: starts with a letter, has no special character, and is no word of YAML 1.1 or 1.2.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+/=_.@:-]*(?<!:)")
_RESERVED = frozenset(["y", "yes", "true", "on", "n", "no", "false", "off", "null", "nan", "inf", "infinity"])
_WIDTH = 2**31 - 1  # no string is broken into lines


def dump(data: Any) -> bytes:
    """Return `data` (dict, list, str, int, float, bool, None) as block YAML, UTF-8."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, _: object) -> bool:
            return True  # write repeated objects in full: not every reader knows aliases

    def text(dumper: Any, value: str) -> Any:
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_plain else '"')

    Dumper.add_representer(str, text)
    written = yaml.dump(
        data,
        Dumper=Dumper,
        encoding="utf-8",
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        width=_WIDTH,
    )
    return bytes(written)
