"""Which server kubectl would ask through a proxy: the rules of golang.org/x/net/http/httpproxy, one by one."""

import pytest

from threezone.zones.http_proxy import proxied

PROXY = "http://proxy.example:3128"
SERVER = "https://host.docker.internal:6443"


def test_without_a_proxy_there_is_nothing_to_say() -> None:
    assert proxied(SERVER, {}) == ""
    assert proxied(SERVER, {"HTTPS_PROXY": "", "HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}) == ""
    assert proxied("http://somewhere:8001", {"HTTPS_PROXY": PROXY}) == ""


def test_the_sentence_says_who_would_go_where_and_what_mends_it() -> None:
    assert proxied(SERVER, {"HTTPS_PROXY": PROXY}) == (
        f"kubectl would send its calls to {SERVER} through the proxy {PROXY} ($HTTPS_PROXY), which the proof did not "
        "use; to go there directly: export NO_PROXY=host.docker.internal"
    )


def test_the_lower_case_variables_serve_where_the_others_are_empty() -> None:
    assert "($https_proxy)" in proxied(SERVER, {"HTTPS_PROXY": "", "https_proxy": PROXY})
    assert proxied(SERVER, {"HTTPS_PROXY": PROXY, "no_proxy": "other"}).endswith(
        'export NO_PROXY="$no_proxy,"host.docker.internal'
    )
    assert proxied(SERVER, {"HTTPS_PROXY": PROXY, "NO_PROXY": "other", "no_proxy": "*"}).endswith(
        'export NO_PROXY="$NO_PROXY,"host.docker.internal'
    )


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:hunter2@proxy.example:3128/path",
        "me:hunter2@proxy.example:3128",
        "https://me:hunter2@in@proxy.example:3128",
    ],
)
def test_the_proxy_s_credentials_are_never_shown(proxy: str) -> None:
    said = proxied(SERVER, {"HTTPS_PROXY": proxy})
    assert "proxy.example:3128" in said
    assert "hunter2" not in said
    assert "me:" not in said


@pytest.mark.parametrize(
    "server", ["https://localhost:6443", "https://127.0.0.1:6443", "https://127.9.9.9:6443", "https://[::1]:6443"]
)
def test_this_machine_itself_is_never_asked_through_a_proxy(server: str) -> None:
    assert proxied(server, {"HTTPS_PROXY": PROXY}) == ""


@pytest.mark.parametrize(
    ("server", "exceptions"),
    [
        (SERVER, "*"),
        (SERVER, "a, * ,b"),
        (SERVER, "host.docker.internal"),
        (SERVER, " Host.Docker.Internal "),
        (SERVER, "docker.internal"),
        (SERVER, ".internal"),
        (SERVER, "*.internal"),
        (SERVER, "host.docker.internal:6443"),
        (SERVER, "internal:6443"),
        ("https://172.17.0.1:6443", "172.17.0.1"),
        ("https://172.17.0.1:6443", "172.17.0.1:6443"),
        ("https://172.17.0.1:6443", "172.16.0.0/12"),
        ("https://172.17.0.1:6443", "172.17.5.9/16"),
        ("https://172.17.0.1:6443", "::ffff:172.17.0.1"),
        ("https://[fd00::1]:6443", "fd00::1"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
        ("https://[fd00::1]:6443", "FD00::/8"),
        ("https://api.example", "api.example:443"),
    ],
)
def test_an_exception_that_names_the_server_means_a_direct_way(server: str, exceptions: str) -> None:
    assert proxied(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions}) == ""


@pytest.mark.parametrize(
    ("server", "exceptions"),
    [
        (SERVER, "docker.internal:6444"),
        (SERVER, ".host.docker.internal"),
        (SERVER, "*.host.docker.internal"),
        (SERVER, "ocker.internal"),
        (SERVER, ",:6443, "),
        (SERVER, "https://host.docker.internal"),
        ("https://172.17.0.1:6443", "172.17.0.1:6444"),
        ("https://172.17.0.1:6443", "172.18.0.0/16"),
        ("https://172.17.0.1:6443", "172.17.0.0/255.255.0.0"),
        ("https://172.17.0.1:6443", "172.17.0.0/+16"),
        ("https://172.17.0.1:6443", "0.1"),
        ("https://[fd00::1]:6443", "[fd00::1]"),
        ("https://[fd00::1]:6443", "fe80::/10"),
        ("https://host.docker.internal:6443", "172.16.0.0/12"),
    ],
)
def test_an_exception_that_names_something_else_does_not(server: str, exceptions: str) -> None:
    assert "through the proxy" in proxied(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": exceptions})


@pytest.mark.parametrize("server", [SERVER, "https://172.17.0.1:6443", "https://[fd00::1]:6443", "https://api.example"])
@pytest.mark.parametrize("before", ["", "other,10.0.0.0/8"])
def test_the_command_that_it_gives_does_mend_it(server: str, before: str) -> None:
    env = {"HTTPS_PROXY": PROXY, "NO_PROXY": before}
    said = proxied(server, env).rpartition("export NO_PROXY=")[2]
    after = said.replace('"$NO_PROXY,"', f"{before},")
    assert proxied(server, {**env, "NO_PROXY": after}) == ""
