"""Secrets in the user's Git repository: prepare it, and set, read and rotate what is encrypted there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, UsageError
from threezone.core.events import note, step
from threezone.core.files import read, read_text, write_atomic
from threezone.delivery.secrets import age_key, files, rules

RECIPIENT = "age1"
# The longest value from the standard input; more is no Secret.
LIMIT = files.FEW_BYTES + 1


@dataclass(frozen=True)
class Prepared:
    """What secret.init has made or found."""

    recipient: str
    key_file: Path
    new: bool
    recipients: tuple[str, ...]
    in_cluster: bool
    encrypted_again: tuple[str, ...]

    def data(self) -> dict[str, object]:
        """The same as JSON has it."""
        return {
            "recipient": self.recipient,
            "keyFile": str(self.key_file),
            "new": self.new,
            "recipients": list(self.recipients),
            "inCluster": self.in_cluster,
            "encryptedAgain": list(self.encrypted_again),
        }


def prepare(lab: Lab, team: Sequence[str] = ()) -> Prepared:
    """Make the lab's key and .sops.yaml, with more recipients of a team; give the key to a running lab's Flux.

    Files that are encrypted already are encrypted again for recipients that they lack.
    """
    if wrong := [each for each in team if not each.startswith(RECIPIENT) or not each.isalnum()]:
        raise UsageError(
            f"{wrong[0][:8]}… is no recipient of age: these begin with {RECIPIENT}",
            fix="age-keygen -y FILE prints the recipient of a key",
        )
    with step("find sops and age-keygen"):
        sops = age_key.program(lab)
        new = age_key.ensure(lab)
        own = age_key.recipients(lab)
    rule = write_rule(lab, (own[0], *team))
    again = []
    for each in files.find(lab.root):
        lacking = [recipient for recipient in rule if recipient not in each.recipients]
        if lacking and set(own) & set(each.recipients):
            files.encrypt_again(sops, each.file, lacking)
            again.append(each.file)
    return Prepared(own[0], age_key.file(lab), new, rule, give(lab), tuple(again))


def give(lab: Lab) -> bool:
    """Give the key to a lab that answers, and say so if there is none. The next delivery gives it, too."""
    try:
        age_key.give(lab)
    except ClusterError as error:
        note(f"no lab has the key yet ({error.message}): `up` and gitops.push give it to Flux")
        return False
    return True


def write_rule(lab: Lab, add: Sequence[str], remove: Sequence[str] = ()) -> tuple[str, ...]:
    """Write recipients into .sops.yaml. Returns all that new Secrets are encrypted for."""
    path, example = lab.root / rules.FILE, files.default_file(lab.settings.gitops.path, "new")
    text = read_text(path) if path.exists() else ""
    changed = rules.changed(text, example, add, remove)
    if changed != text:
        write_atomic(path, changed, None)
    return rules.recipients(changed, example)


def values(entries: Sequence[str]) -> dict[str, bytes]:
    """The values of `KEY=@FILE` and `KEY=-` (the standard input). Raises UsageError; no value is in its message."""
    found: dict[str, bytes] = {}
    if not entries:
        raise UsageError("no value is given", fix="--value KEY=@FILE, or --value KEY=- and the value on the input")
    for entry in entries:
        key, equals, source = entry.partition("=")
        if not equals or (source != "-" and not source.startswith("@")):
            raise UsageError(
                f"the value of {key if equals else 'a key'} has to come from a file or the standard input",
                evidence="other users of this machine can read the arguments of a program",
                fix="--value KEY=@FILE, or --value KEY=- and the value on the standard input",
            )
        if key in found:
            raise UsageError(f"the key {key} is given twice")
        try:
            content = sys.stdin.buffer.read(LIMIT) if source == "-" else read(source[1:])
        except OSError as error:
            raise UsageError(f"{source[1:]} cannot be read: {error.strerror}", fix="name a readable file") from None
        found[files.require_key(key)] = content
        if content.endswith(b"\n"):
            note(f"the value of {key} ends with a line break, as its source does")
    return found


def put(lab: Lab, name: str, given: Mapping[str, bytes], *, namespace: str = "", file: str = "") -> files.Encrypted:
    """Set values of a Secret, which is created unless it exists. Raises UsageError where its namespace is not known."""
    files.require_name(name)
    if not age_key.file(lab).is_file() or not (lab.root / rules.FILE).is_file():
        prepare(lab)
    sops = age_key.program(lab)
    fits = files.fitting(lab.root, name, namespace)
    fits = [each for each in fits if each.name == name and file in ("", each.file)]
    if len(fits) > 1:
        files.choose(lab.root, name, namespace)  # says which there are
    if fits:
        files.change(sops, fits[0], given)
        return files.choose(lab.root, fits[0].file)
    path = str(PurePosixPath(file or files.default_file(lab.settings.gitops.path, name)))
    if not (namespace or files.sets_namespace((lab.root / path).parent)):
        raise UsageError(
            f"the namespace of the new Secret {name} is not known",
            evidence=f"no kustomization beside {path} sets one",
            fix=f"--namespace NAMESPACE, or --file DIRECTORY/{name}{rules.ENDING} beside the app's manifests",
        )
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    files.create(lab, sops, path, meta, given)
    created = files.choose(lab.root, path)
    if not set(age_key.recipients(lab)) & set(created.recipients):
        note(f"{path} is not encrypted for this lab: the rules of {rules.FILE} have another one for it")
    return created


@dataclass(frozen=True)
class Rotated:
    """A rotation: the new recipient, and the files that are encrypted for it now."""

    recipient: str
    files: tuple[str, ...]
    new: bool


def uses(lab: Lab, recipients: Sequence[str]) -> dict[str, bytes]:
    """The encrypted files of the repository that name one of these recipients, with their content."""
    names = [each.encode() for each in recipients]
    return {file: text for file, text in files.encrypted(lab.root) if any(name in text for name in names)}


def rotate(lab: Lab) -> Rotated:
    """Replace the lab's key, and encrypt everything again with new data keys. May be repeated after an interruption.

    The old identity stays in the key file and in the cluster, which decrypts the old commit until the new one arrives.
    """
    if not age_key.file(lab).is_file():
        raise UsageError("the lab has no key that could be rotated", fix="./run invoke secret.init")
    sops, own = age_key.program(lab), age_key.recipients(lab)  # the newest first
    rule_file = lab.root / rules.FILE
    in_rules = rules.everywhere(read_text(rule_file)) if rule_file.is_file() else set()
    unfinished = bool(uses(lab, own[1:]) or in_rules & set(own[1:]))  # a killed run left older ones
    if not unfinished:
        age_key.add(lab)
        own = age_key.recipients(lab)
    give(lab)  # before any file is encrypted with it
    write_rule(lab, own[:1], own[1:])
    wanted = uses(lab, own[1:])
    with step(f"encrypt {len(wanted)} files again"):
        for file, text in wanted.items():
            files.encrypt_again(sops, file, () if own[0].encode() in text else own[:1], own[1:])
    return Rotated(own[0], tuple(wanted), not unfinished)
