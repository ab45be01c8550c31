"""The Kubernetes API as plain JSON.

Only this module imports `kubernetes`, the official client, and only for kubeconfigs with credential plugins or proxies:
the import takes 0.2 to 0.3 s.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from threezone.core.errors import ClusterError

Json = dict[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
BUSY_TRIES, BUSY_SECONDS = 10, 1.0  # tries with a busy server, and the longest pause between them
STARTING = 15.0  # seconds in which a 403 may come from an API server that has not loaded RBAC's rules yet
ANSWER_BYTES, ANSWER_SECONDS = 2**20, 20.0  # of a text or an error, which may come from an app and have no end
RETRY = 0.2  # seconds between tries while the API server does not answer
MANAGER = "threezone"  # our field manager in server-side apply


class Refused(ClusterError):
    """The API server answered with an error: its HTTP status and message."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"the API server answered with {status}: {words}", fix="./run invoke status")
        self.status = status


class Forbidden(Refused):
    """The API server refuses a request of a known user (403).

    `verb`, `resource` (such as `pods/log`), `group` and `namespace` are those of RBAC's rules.
    """

    def __init__(self, words: str, parts: Mapping[str, str | None]) -> None:
        super().__init__(HTTPStatus.FORBIDDEN, words)
        names = ("user", "verb", "resource", "group", "namespace")
        user, self.verb, self.resource, self.group, namespace = (parts[name] or "" for name in names)
        of = f" ({self.group})" if self.group else ""
        where = f"in the namespace {namespace}" if namespace else "at the cluster scope"
        self.user, self.namespace = user, namespace
        self.message = f"{_display_name(user)} may not {self.verb} {self.resource}{of} {where}"
        self.evidence = words
        scope = f" --namespace {namespace}" if namespace else ""
        self.fix = f"kubectl auth can-i --list{scope} shows what it may; the cluster's administrator can grant more"
        if user.startswith(_ACCOUNT):
            account_namespace, _, account = user.removeprefix(_ACCOUNT).partition(":")
            self.fix = (
                "as the cluster's administrator, for the account of a CI job: "
                f"./run invoke ci.kubeconfig --namespace {account_namespace} --account {account}"
            )


class Unauthorized(Refused):
    """The API server does not know the user (401): the login has expired or belongs to another cluster."""

    def __init__(self, words: str) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, words)
        self.message = "the API server does not accept this login: its token has expired or belongs to another cluster"
        self.evidence = f"HTTP 401: {words}"
        self.fix = "./run invoke kubeconfig.connect; for the account of a CI job: ./run invoke ci.kubeconfig"


_ADMINISTRATOR = "kubernetes-admin"
_ACCOUNT = "system:serviceaccount:"
# k8s.io/apiserver, pkg/endpoints/handlers/responsewriters/errors.go: forbiddenMessage
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| at the cluster scope)'
)


def refused(status: int, words: str) -> Refused:
    """The error in an answer as an exception. Pure."""
    if status == HTTPStatus.FORBIDDEN and (parts := _FORBIDDEN.search(words)):
        return Forbidden(words, parts.groupdict())
    return Unauthorized(words) if status == HTTPStatus.UNAUTHORIZED else Refused(status, words)


def is_starting(refusal: Forbidden, since_outage: float) -> bool:
    """Whether a 403 may pass by itself: an API server that has just started answers so before it has loaded its rules.

    That is so for the administrator of kubeadm's kubeconfig, who may do everything (kubeadm binds its group to
    cluster-admin), and for anybody within STARTING seconds after the server did not answer. Pure.
    """
    return refusal.user == _ADMINISTRATOR or since_outage < STARTING


def _display_name(user: str) -> str:
    account_namespace, _, account = user.removeprefix(_ACCOUNT).partition(":")
    return f"the service account {account_namespace}/{account}" if user.startswith(_ACCOUNT) else f"the user {user}"


@dataclass(frozen=True)
class Access:
    """How to reach an API server without the client library: verified TLS, and headers that carry a token."""

    server: str
    tls: ssl.SSLContext
    tls_server_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str = field(default="", repr=False)


class Api:
    """A connection to an API server. Paths are API paths such as `/api/v1/nodes`."""

    def __init__(
        self,
        base: str,
        pool: Any,
        headers: Callable[[str, str], Mapping[str, str]],
        deadline: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._base = base.rstrip("/")
        self._pool = pool
        self._headers = headers
        self._deadline = deadline
        self._last_outage = -STARTING  # monotonic: the last time that the server did not answer, or answered with 5xx

    @staticmethod
    def by_access(access: Access) -> Api:
        """Connect with a known certificate or token. Uses urllib3 alone: its import takes a tenth of the client's."""
        import urllib3

        named: dict[str, Any] = {"server_hostname": access.tls_server_name} if access.tls_server_name else {}
        if access.proxy.startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager

            # As in Go, the proxy resolves names.
            url = "socks5h:" + access.proxy.partition(":")[2]
            pool: urllib3.PoolManager = SOCKSProxyManager(url, ssl_context=access.tls, **named)
        elif access.proxy:
            login = unquote(urlsplit(access.proxy).netloc.rpartition("@")[0])
            via = urllib3.make_headers(proxy_basic_auth=login) if login else {}
            pool = urllib3.ProxyManager(access.proxy, proxy_headers=via, ssl_context=access.tls, **named)
        else:
            pool = urllib3.PoolManager(ssl_context=access.tls, **named)
        return Api(access.server, pool, lambda _method, _path: access.headers)

    @staticmethod
    def by_kubeconfig(kubeconfig: Mapping[str, Any], context: str) -> Api:
        """Connect as a kubeconfig (as data) says, with credential plugins and proxies, by the official client."""
        from kubernetes.config import new_client_from_config_dict

        client: Any = new_client_from_config_dict(  # type: ignore[no-untyped-call]
            dict(kubeconfig), context=context, persist_config=False
        )

        def headers(method: str, path: str) -> Mapping[str, str]:
            filled: dict[str, str] = {}
            client.update_params_for_auth(filled, [], ["BearerToken"], path, method, None)
            return filled

        return Api(client.configuration.host, client.rest_client.pool_manager, headers)

    def retrying(self, deadline: Callable[[], float]) -> Api:
        """The same connection; requests are repeated until `deadline` (monotonic) if the API server does not answer.

        Only for requests that may be sent twice.
        """
        return Api(self._base, self._pool, self._headers, deadline)

    def _open(self, method: str, path: str, query: Mapping[str, Any], **options: Any) -> Any:
        """Send a request and return its open answer. A 403 of a server that is starting is waited out."""
        began = time.monotonic()
        while True:
            try:
                return self._once(method, path, query, **options)
            except Forbidden as refusal:
                now = time.monotonic()
                if now - began >= STARTING or not is_starting(refusal, now - self._last_outage):
                    raise
                time.sleep(RETRY)  # nothing tells when the rules are loaded

    def _once(
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

        headers = {"Accept": "application/json", "Content-Type": content, **self._headers(method, path)}
        try:
            for tries_left in reversed(range(BUSY_TRIES)):
                answer = self._pool.request(
                    method,
                    self._base + path + (f"?{urlencode(query)}" if query else ""),
                    headers=headers,
                    body=None if body is None else json.dumps(body),
                    timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read),
                    retries=False,
                    preload_content=False,
                )
                # The server has done nothing: it is busy, or the kind is new. Its answer says when to try again.
                pause = answer.headers.get("Retry-After", "")
                if answer.status != HTTPStatus.TOO_MANY_REQUESTS or not pause.isdigit() or not tries_left:
                    break
                answer.drain_conn()
                time.sleep(min(float(pause), BUSY_SECONDS))
        except urllib3.exceptions.HTTPError as error:
            raise self._no_answer(error) from None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._last_outage = time.monotonic()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise refused(answer.status, _message(self._bounded(answer).encode()))
        return answer

    def _body(self, answer: Any) -> str:
        """The answer's body. Raises ClusterError when the connection breaks."""
        import urllib3

        try:
            return bytes(answer.read() or b"").decode(errors="replace")
        except urllib3.exceptions.HTTPError as error:
            raise self._no_answer(error) from None

    def _bounded(self, answer: Any) -> str:
        """The beginning of the answer's body: at most ANSWER_BYTES, and what comes within ANSWER_SECONDS."""
        import urllib3

        body, began = b"", time.monotonic()
        try:
            while len(body) < ANSWER_BYTES and time.monotonic() - began < ANSWER_SECONDS:
                if not (part := answer.read1(ANSWER_BYTES - len(body))):
                    break
                body += part
        except urllib3.exceptions.HTTPError as error:
            raise self._no_answer(error) from None
        finally:
            answer.close()  # with a rest the connection cannot be used again
        return body.decode(errors="replace")

    def _no_answer(self, error: Exception) -> ClusterError:
        self._last_outage = time.monotonic()
        return ClusterError(
            f"the API server at {self._base} does not answer",
            evidence=str(error),
            fix="./run invoke kubeconfig.connect",
        )

    def send(self, method: str, path: str, body: Any = None, content: str = "application/json", **query: Any) -> Json:
        """Send a request. Returns the JSON answer. Raises Refused, or ClusterError when the server does not answer."""
        while True:
            try:
                return dict(json.loads(self._body(self._open(method, path, query, body=body, content=content)) or "{}"))
            except ClusterError as error:
                answered = isinstance(error, Refused) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
                if answered or time.monotonic() >= self._deadline():
                    raise
                time.sleep(RETRY)  # without an answer there is nothing to watch

    def get(self, path: str, **query: Any) -> Json | None:
        """The object or list at `path`, or None when it (or its API) does not exist."""
        try:
            return self.send("GET", path, **query)
        except Refused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def text(self, path: str) -> str:
        """The body at `path` as text, for the API server's proxy paths; of a long one, only the beginning."""
        return self._bounded(self._open("GET", path, {}))

    def apply(self, path: str, manifest: Json, *, manager: str = MANAGER, dry: bool = False) -> Json:
        """Apply an object at its own path (server-side apply) as a field manager; other fields are kept.

        A `dry` run changes nothing, and returns the object as it would be.
        """
        query = {"dryRun": "All"} if dry else {}
        content = "application/apply-patch+yaml"
        return self.send("PATCH", path, manifest, content=content, fieldManager=manager, force="true", **query)

    def merge(self, path: str, change: Json) -> Json:
        """Apply a JSON merge patch to an object."""
        return self.send("PATCH", path, change, content="application/merge-patch+json", fieldManager=MANAGER)

    def watch(self, path: str, *, since: str, seconds: float, **query: Any) -> Iterator[Json]:
        """Watch events (`{type, object}`) of a collection from a resourceVersion, for at most `seconds`."""
        parameters = {**query, "watch": "true", "resourceVersion": since, "timeoutSeconds": max(1, int(seconds))}
        answer = self._open("GET", path, parameters, read=seconds + 5)
        rest = b""
        try:
            for chunk in answer.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        finally:
            answer.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _message(raw: bytes) -> str:
    try:
        return str(json.loads(raw).get("message") or raw.decode(errors="replace"))
    except (ValueError, AttributeError):
        return raw.decode(errors="replace").strip()[:500]
