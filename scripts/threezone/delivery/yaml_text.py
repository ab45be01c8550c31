"""Change the text of a YAML file and keep the rest as it is written, comments too. Pure."""

from __future__ import annotations

from typing import Any


def pairs(node: Any) -> dict[str, tuple[Any, Any]]:
    """The nodes of a mapping's keys and values."""
    return {str(key.value): (key, value) for key, value in node.value}


def last_line(node: Any) -> int:
    """The line on which a node's last word ends. The end of a block is reported after the comments that follow it."""
    if node.id == "scalar" or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return last_line(last[1] if node.id == "mapping" else last)


def newline(text: str) -> str:
    """How the text's lines end."""
    return "\r\n" if "\r\n" in text else "\n"


def insert_after(text: str, line: int, new: list[str]) -> str:
    """The text with new lines after a line."""
    end = newline(text).removesuffix("\n")
    lines = text.split("\n")
    lines[line + 1 : line + 1] = [f"{each}{end}" for each in new]
    return "\n".join(lines)


def replaced(text: str, node: Any, new: str) -> str:
    """The text with another value of a node."""
    return text[: node.start_mark.index] + new + text[node.end_mark.index :]
