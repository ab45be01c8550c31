"""Elements of HTML and XML. Whatever stands in them was made text by the library: nothing is concatenated."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

# What XML 1.0 cannot hold (https://www.w3.org/TR/xml/#charsets): controls, lone surrogates, two non-characters.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """`text` as XML can hold it; what it cannot hold becomes U+FFFD."""
    return FORBIDDEN.sub("\ufffd", text)


def element(tag: str, *children: ET.Element | str | None, **attributes: str) -> ET.Element:
    """An element with its children; None is no child. A name that Python keeps for itself ends in `_`: `class_`."""
    made = ET.Element(tag, {name.rstrip("_").replace("_", "-"): clean(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
        elif child and len(made):
            made[-1].tail = (made[-1].tail or "") + clean(child)
        elif child:
            made.text = (made.text or "") + clean(child)
    return made
