"""Prove an engine with a privileged container. It needs no registry and no base image.

The container runs a 148-byte ELF program that calls exit(0); its image is imported from a tar archive made here.
"""

from __future__ import annotations

import io
import struct
import tarfile

from threezone.clients.docker import containers, images
from threezone.core import labels
from threezone.core.errors import CommandFailed, EngineError

IMAGE = "threezone/probe:1"

# exit(0) per architecture as the engine names it: (e_machine of the ELF specification, machine code).
_EXIT = {
    "amd64": (62, bytes.fromhex("31ff b83c000000 0f05")),  # xor edi,edi; mov eax,60; syscall
    "arm64": (183, bytes.fromhex("000080d2 a80b80d2 010000d4")),  # mov x0,#0; mov x8,#93; svc #0
}


def program(architecture: str) -> bytes:
    """A static ELF executable for `architecture` (amd64, arm64) that exits with 0."""
    machine, code = _EXIT[architecture]
    base, header = 0x400000, 64 + 56
    elf = struct.pack(
        "<4sBBBBQHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 0, 2, machine, 1, base + header, 64, 0, 0, 64, 56, 1, 64, 0, 0,
    )  # fmt: skip
    size = header + len(code)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def archive(architecture: str) -> bytes:
    """A tar archive with the program as /exit0, to import as an image."""
    content = program(architecture)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("exit0")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def prove(architecture: str) -> str | None:
    """Run the privileged container. Returns None on success, else the engine's message."""
    try:
        if not images.inspect(IMAGE):
            changes = ('ENTRYPOINT ["/exit0"]', f"LABEL {labels.MANAGED}=true")
            images.load_root(archive(architecture), IMAGE, changes)
        containers.run(IMAGE, privileged=True, timeout=60)
    except (CommandFailed, EngineError) as error:
        return error.evidence or error.message
    return None
