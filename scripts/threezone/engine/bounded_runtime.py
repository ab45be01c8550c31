"""An OCI runtime that removes the capabilities which this machine lacks from the request, and then starts runc.

Some sandboxes and VMs lack a capability (often CAP_SYS_RESOURCE) in their bounding set. runc refuses a container that
requests it ("unable to apply caps: operation not permitted"), and `--privileged` requests all. This wrapper edits the
container's config.json (create, run: --bundle) or the process file (exec: --process). `engine.start` installs it only
where a capability is missing. Standard library only: it starts several times per container.
"""

# ruff: noqa: PTH118, PTH123  pathlib costs milliseconds at every start of every container

import json
import os
import sys

# linux/capability.h, in order of their numbers.
NAMES = (  # noqa: SIM905  forty-one words read better than forty-one literals
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


def available() -> "set[str]":
    """The capabilities in the bounding set of this process, by their OCI names."""
    with open("/proc/self/status") as status:
        bits = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
    return {"CAP_" + name for number, name in enumerate(NAMES) if bits >> number & 1}


def missing() -> "list[str]":
    """The capabilities that the kernel knows and the bounding set lacks; none on an ordinary machine."""
    with open("/proc/sys/kernel/cap_last_cap") as last:
        known = NAMES[: int(last.read()) + 1]
    have = available()
    return ["CAP_" + name for name in known if "CAP_" + name not in have]


def bound(process: "dict[str, object]", have: "set[str]") -> None:
    """Remove from an OCI `process` object every capability that is not in `have`."""
    capabilities = process.get("capabilities")
    if isinstance(capabilities, dict):
        for kind, names in capabilities.items():
            capabilities[kind] = [name for name in names or [] if name in have]


def rewrite(path: str, inside: str) -> None:
    """Bound the process object in the JSON file `path` (below the key `inside`, if given)."""
    with open(path) as file:
        document = json.load(file)
    bound(document.get(inside) or {} if inside else document, available())
    with open(path, "w") as file:
        json.dump(document, file)


def option(arguments: "list[str]", *names: str) -> str:
    """The value of a command-line option (`--bundle X` or `--bundle=X`), or ""."""
    for index, argument in enumerate(arguments):
        for name in names:
            if argument == name and index + 1 < len(arguments):
                return arguments[index + 1]
            if argument.startswith(name + "="):
                return argument[len(name) + 1 :]
    return ""


def main(arguments: "list[str]") -> None:
    """Remove the missing capabilities from the request, then become runc."""
    if "create" in arguments or "run" in arguments:
        bundle = option(arguments, "--bundle", "-b") or "."
        rewrite(os.path.join(bundle, "config.json"), "process")
    elif "exec" in arguments:
        path = option(arguments, "--process", "-p")
        if path:
            rewrite(path, "")
    os.execvp("runc", ["runc", *arguments])  # noqa: S606  becoming runc is the point


if __name__ == "__main__":
    main(sys.argv[1:])
