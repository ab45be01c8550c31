"""secret.*: Secrets in Git, encrypted with sops and age; the lab's Flux decrypts them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.display import table
from threezone.tasks.options import ClusterName, DryRun, Json, open_lab
from threezone.tasks.runtime import present, say, task

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.delivery.secrets.files import Encrypted

SecretName = Annotated[str, "the Secret's name, or the path of its file"]
Namespace = Annotated[str, "its namespace, where several have this name"]


@task
def init(
    recipient: Annotated[list[str], "the age recipient of another person who may read the Secrets; repeatable"],
    json: Json = False,
    name: ClusterName = "",
) -> None:
    """Make an age key for the lab, write its recipient into .sops.yaml, and give the key to Flux. Safe to repeat.

    The key stays outside of the repository, in a file that only you can read. It is kept when the cluster is deleted
    or created again: keep a copy of it, because without it nobody reads the Secrets.
    """
    from threezone.delivery.secrets import keep

    done = keep.prepare(open_lab(name, context=""), tuple(recipient))
    lines = [
        f"recipient   {done.recipient}",
        f"key         {done.key_file}" + (" (new: keep a copy of it)" if done.new else ""),
        f"encrypts    .sops.yaml, for {', '.join(done.recipients)}",
        f"Flux        {'has the key' if done.in_cluster else 'gets the key with the next delivery'}",
        *(f"again       {file}" for file in done.encrypted_again),
    ]
    present(done.data(), "\n".join(lines), as_json=json)


@task
def set_(
    secret: Annotated[str, "the Secret's name"],
    value: Annotated[list[str], "KEY=@FILE, or KEY=- for the standard input; repeatable"],
    namespace: Annotated[str, "the Secret's namespace (default: that of the kustomization beside the file)"] = "",
    file: Annotated[str, "the file of a new Secret (default: SECRET.sops.yaml in threezone.gitops.path)"] = "",
    name: ClusterName = "",
) -> None:
    """Set a value of an encrypted Secret, which is created if it is missing. Values are never typed as arguments.

    A new file is listed in the kustomization beside it. Commit the files yourself; gitops.push delivers them.
    """
    from threezone.delivery.secrets import keep

    lab = open_lab(name, context="")
    done = keep.put(lab, secret, keep.values(value), namespace=namespace, file=file)
    say(f"{done.file}: {', '.join(done.keys)}; commit it, then ./run invoke gitops.push")


@task
def edit(secret: SecretName, namespace: Namespace = "", name: ClusterName = "") -> None:
    """Open an encrypted Secret in your editor ($EDITOR), and encrypt it again when that ends."""
    from threezone.delivery.secrets import age_key, files

    lab = open_lab(name, context="")
    chosen = files.choose(lab.root, secret, namespace)
    changed = files.edit(age_key.program(lab), chosen)
    say(f"{chosen.file} is {'changed; commit it' if changed else 'not changed'}")


@task
def show(
    secret: SecretName,
    key: Annotated[str, "print the value of this key, exactly"] = "",
    output: Annotated[str, "write that value to this file, which only you can read"] = "/dev/stdout",
    namespace: Namespace = "",
    json: Json = False,
    name: ClusterName = "",
) -> None:
    """Show the keys and recipients of an encrypted Secret, or with --key one decrypted value."""
    from threezone.core.errors import UsageError
    from threezone.core.files import write_output
    from threezone.delivery.secrets import age_key, files

    lab = open_lab(name, context="")
    chosen = files.choose(lab.root, secret, namespace)
    if not key:
        _present([chosen], lab, as_json=json)
        return
    values = files.values(age_key.program(lab), chosen)
    if key not in values:
        raise UsageError(f"{chosen.file} has no key {key}", evidence=f"its keys: {', '.join(chosen.keys)}")
    write_output(output, values[key])


@task
def list_(json: Json = False, name: ClusterName = "") -> None:
    """List the encrypted Secrets of the repository, their keys, and whether this lab can read them."""
    from threezone.delivery.secrets import files

    lab = open_lab(name, context="")
    _present(list(files.find(lab.root)), lab, as_json=json)


def _present(found: "Sequence[Encrypted]", lab: "Lab", *, as_json: bool) -> None:
    from threezone.delivery.secrets import age_key

    own = set(age_key.recipients(lab))
    rows = [["SECRET", "NAMESPACE", "KEYS", "THIS LAB", "FILE"]]
    data = []
    for each in found:
        reads = bool(own & set(each.recipients))
        rows.append([each.name, each.namespace or "-", ", ".join(each.keys), "yes" if reads else "no", each.file])
        names = {"name": each.name, "namespace": each.namespace, "file": each.file}
        data.append({**names, "keys": list(each.keys), "recipients": list(each.recipients), "thisLab": reads})
    present(data, table(rows) if data else "there are no encrypted Secrets", as_json=as_json)


@task
def rotate(dry_run: DryRun = False, json: Json = False, name: ClusterName = "") -> None:
    """Replace the lab's key: encrypt every file again, for the new key and with new data keys. Safe to repeat.

    The old key stays in the key file: it reads Git's history, and what Flux has until you commit and push. If it was
    stolen, whoever has it knows the old values: set new ones, too.
    """
    from threezone.delivery.secrets import age_key, keep

    lab = open_lab(name, context="")
    if dry_run:
        files = keep.uses(lab, age_key.recipients(lab))
        say("\n".join(["+ make a new key, and give it to Flux", *(f"~ encrypt {file} again" for file in files)]))
        return
    done = keep.rotate(lab)
    lines = [f"recipient   {done.recipient}", *(f"again       {file}" for file in done.files)]
    lines.append("commit these files and .sops.yaml, then ./run invoke gitops.push")
    data = {"recipient": done.recipient, "files": list(done.files), "new": done.new}
    present(data, "\n".join(lines), as_json=json)
