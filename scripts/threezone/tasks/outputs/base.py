"""What the types of JSON outputs have in common."""

from msgspec import Struct

Json = dict[str, object]


class Output(Struct, kw_only=True, forbid_unknown_fields=True):
    """An object that has these fields and no others."""
