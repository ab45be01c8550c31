"""The Kubernetes API as plain JSON, on the official client: its kubeconfig, TLS and credentials, none of its models.

The only module that imports `kubernetes` (0.3 s, so inside functions). What comes back is what the API server sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from threezone.errors import ClusterError

Json = dict[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
MANAGER = "threezone"  # our field manager in server-side apply


@dataclass(frozen=True)
class Refused(Exception):
    """The API server answered with an error: its HTTP status and its own words."""

    status: int
    words: str

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.words}"


class Api:
    """A connection to one API server. Paths are API paths such as `/api/v1/nodes`."""

    def __init__(self, kubeconfig: Mapping[str, Any], context: str) -> None:
        """Connect as `context` of a kubeconfig (as data) says; nothing is sent yet."""
        from kubernetes.config import new_client_from_config_dict

        self.context = context
        self._client: Any = new_client_from_config_dict(  # type: ignore[no-untyped-call]
            dict(kubeconfig), context=context, persist_config=False
        )
        self._client.configuration.retries = False

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        *,
        body: Any = None,
        content: str = "application/json",
        read: float = READ_SECONDS,
    ) -> Any:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json", "Content-Type": content}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._client.call_api(method, url, headers, body=body, _request_timeout=(CONNECT_SECONDS, read))
        except ApiException as error:
            raise Refused(error.status or 0, str(error.reason)) from None
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(
                f"the API server at {self._client.configuration.host} does not answer",
                evidence=str(error),
                fix="./run invoke kubeconfig.connect",
            ) from None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raw = answer.read() or b""
            raise Refused(answer.status, _message(raw))
        return answer

    def send(self, method: str, path: str, body: Any = None, content: str = "application/json", **query: Any) -> Json:
        """One request and its JSON answer. Raises Refused with the server's words, ClusterError when out of reach."""
        return dict(json.loads(self._open(method, path, query, body=body, content=content).read() or b"{}"))

    def get(self, path: str, **query: Any) -> Json | None:
        """The object or list at `path`, or None when it (or its API) does not exist."""
        try:
            return self.send("GET", path, **query)
        except Refused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def text(self, path: str) -> str:
        """The body at `path` as text, for the API server's proxy paths."""
        return bytes(self._open("GET", path, {}).read() or b"").decode(errors="replace")

    def apply(self, path: str, wanted: Json) -> Json:
        """Server-side apply of one object to its own path; fields that we do not name are left alone."""
        return self.send(
            "PATCH", path, wanted, content="application/apply-patch+yaml", fieldManager=MANAGER, force="true"
        )

    def merge(self, path: str, change: Json) -> Json:
        """A JSON merge patch of one object."""
        return self.send("PATCH", path, change, content="application/merge-patch+json", fieldManager=MANAGER)

    def watch(self, path: str, *, since: str, seconds: float, **query: Any) -> Iterator[Json]:
        """Watch events (`{type, object}`) of a collection from a resourceVersion, for at most `seconds`."""
        wanted = {**query, "watch": "true", "resourceVersion": since, "timeoutSeconds": max(1, int(seconds))}
        answer = self._open("GET", path, wanted, read=seconds + 5)
        rest = b""
        try:
            for chunk in answer.response.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        finally:
            answer.response.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _message(raw: bytes) -> str:
    try:
        return str(json.loads(raw).get("message") or raw.decode(errors="replace"))
    except (ValueError, AttributeError):
        return raw.decode(errors="replace").strip()[:500]
