"""Where this threezone was installed from, for those who have to install the same one."""

from __future__ import annotations

import json


def requirement() -> tuple[str, str]:
    """The address for pip, and a notice. The address is "" where the package index, or somebody, has to know it.

    pip records where a package came from in direct_url.json (PEP 610).
    """
    from importlib import metadata

    notice = (
        "local/requirements.txt names threezone by its version. If your package index does not have it, write an "
        "address there that others can reach, such as threezone @ git+https://HOST/threezone.git@COMMIT"
    )
    try:
        record = json.loads(metadata.distribution("threezone").read_text("direct_url.json") or "{}")
        version_control = record.get("vcs_info") or {}
        if version_control and "@" not in record["url"].partition("://")[2].partition("/")[0]:  # no login in it
            return f"{version_control['vcs']}+{record['url']}@{version_control['commit_id']}", ""
    except (metadata.PackageNotFoundError, ValueError, KeyError):
        return "", notice
    return "", notice if record else ""
