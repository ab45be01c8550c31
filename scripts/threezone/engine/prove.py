"""Prove an engine with a privileged container. It needs no registry and no base image.

The container runs a small ELF program of ours; its image is imported from a tar made here. The program prints HELD and
ends with 0 at the end of its input, after two hours at the latest. Without an input that is at once; with one it is
what a cluster's lease is made of (cluster/lease.py).
"""

from __future__ import annotations

import io
import struct
import tarfile

from threezone.clients.docker import containers, images
from threezone.core import labels
from threezone.core.errors import CommandFailed, EngineError

IMAGE = "threezone/probe:2"
HELD = "held"

# write(1, text, 5); poll({fd 0, POLLIN}, 1, two hours); exit(0). A pipe whose writer is gone ends the poll (POLLHUP).
# Per architecture as the engine names it: (e_machine of the ELF specification, machine code), the text follows.
_CODE = {
    "amd64": (
        62,
        (
            "6a01 5f 488d352b000000 6a05 5a 89f8 0f05"  # push 1; pop rdi; lea rsi,[text]; push 5; pop rdx; mov eax,edi
            "48b80000000001000000 50 4889e7 6a01 5e"  # mov rax,POLLIN<<32; push rax; mov rdi,rsp; push 1; pop rsi
            "ba00dd6d00 6a07 58 0f05"  # mov edx,7200000 (ms); push 7; pop rax; syscall
            "31ff b83c000000 0f05"  # xor edi,edi; mov eax,60; syscall
        ),
    ),
    "arm64": (
        183,
        (
            "200080d2 21020010 a20080d2 080880d2 010000d4"  # mov x0,#1; adr x1,text; mov x2,#5; mov x8,#64; svc #0
            "2900c0d2 e90f1ff8 e0030091 210080d2"  # mov x9,#POLLIN<<32; str x9,[sp,#-16]!; mov x0,sp; mov x1,#1
            "098483d2 e97fbfa9 e2030091 e3031faa"  # mov x9,#7200 (s); stp x9,xzr,[sp,#-16]!; mov x2,sp; mov x3,xzr
            "280980d2 010000d4"  # mov x8,#73 (ppoll); svc #0
            "e0031faa a80b80d2 010000d4"  # mov x0,xzr; mov x8,#93; svc #0
        ),
    ),
}


def program(architecture: str) -> bytes:
    """The program as a static ELF executable for `architecture` (amd64, arm64)."""
    machine, instructions = _CODE[architecture]
    code = bytes.fromhex(instructions) + f"{HELD}\n".encode()
    base, header = 0x400000, 64 + 56
    elf = struct.pack(
        "<4sBBBBQHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, 0, 0, 2, machine, 1, base + header, 64, 0, 0, 64, 56, 1, 64, 0, 0,
    )  # fmt: skip
    size = header + len(code)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def archive(architecture: str) -> bytes:
    """A tar with the program as /hold, to be imported as an image."""
    content = program(architecture)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("hold")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def make_image(architecture: str) -> None:
    """Import the image. Raises CommandFailed."""
    changes = ('ENTRYPOINT ["/hold"]', f"LABEL {labels.MANAGED}=true")
    images.load_root(archive(architecture), IMAGE, changes)


def prove(architecture: str) -> str | None:
    """Run the privileged container. Returns None on success, else the engine's message."""
    try:
        if not images.inspect(IMAGE):
            make_image(architecture)
        containers.run(IMAGE, privileged=True, timeout=60)
    except (CommandFailed, EngineError) as error:
        return error.evidence or error.message
    return None
