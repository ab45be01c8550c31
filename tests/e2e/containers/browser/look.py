"""Look at a page in headless Chromium, over its DevTools pipe (--remote-debugging-pipe): no port, no network.

stdin: {"html": "…", "script": "…", "views": [{"width": 380, "height": 800, "scheme": "dark"}, …]}
stdout: for each view {"value": what the script returned, "log": console, log and exception texts, "requests": URLs
that were asked for and not blocked,
"width": of the content, "picture": PNG in base64}
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


class Pipe:
    """DevTools' messages are JSON, each ended by a NUL: commands to its descriptor 3, answers and events from 4."""

    def __init__(self, profile: str) -> None:
        theirs_in, self.into = os.pipe()
        self.out, theirs_out = os.pipe()
        for descriptor in (theirs_in, theirs_out):
            os.set_inheritable(descriptor, True)
        # The shell puts the two where Chromium looks for them, and becomes Chromium.
        shell = f'exec chromium "$@" 3<&{theirs_in} 4>&{theirs_out}'
        argv = ["sh", "-c", shell, "sh", *QUIET, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        self.browser = subprocess.Popen(argv, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.rest = b""
        self.numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.out, 1 << 16)
            if not more:
                sys.exit("chromium ended")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        seen: dict[str, Any] = json.loads(message)
        return seen

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        left = json.dumps(command).encode() + b"\0"
        while left:
            left = left[os.write(self.into, left) :]
        while True:
            seen = self.read()
            if seen.get("id") != number:
                self.events.append(seen)
            elif "error" in seen:
                sys.exit(f"{method}: {seen['error']}")
            else:
                result: dict[str, Any] = seen["result"]
                return result

    def wait(self, event: str) -> None:
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self.read())


def texts(event: dict[str, Any]) -> list[str]:
    """What an event says on the console, if it is one that does."""
    params = event.get("params", {})
    match event.get("method"):
        case "Log.entryAdded":
            return [f"{params['entry']['level']}: {params['entry']['text']}"]
        case "Runtime.consoleAPICalled":
            return [f"{params['type']}: {[a.get('value', a.get('description')) for a in params['args']]}"]
        case "Runtime.exceptionThrown":
            return [f"exception: {params['exceptionDetails']}"]
    return []


def look(pipe: Pipe, url: str, script: str, view: dict[str, Any]) -> dict[str, Any]:
    target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
    session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    pipe.events.clear()
    for domain in ("Page", "Runtime", "Log", "Network"):
        pipe.call(f"{domain}.enable", session)
    size = {"width": view["width"], "height": view["height"], "deviceScaleFactor": 1, "mobile": view["width"] < 600}
    pipe.call("Emulation.setDeviceMetricsOverride", session, **size)
    scheme = {"name": "prefers-color-scheme", "value": view["scheme"]}
    pipe.call("Emulation.setEmulatedMedia", session, features=[scheme])
    pipe.call("Page.navigate", session, url=url)
    pipe.wait("Page.loadEventFired")
    said = pipe.call("Runtime.evaluate", session, expression=script, returnByValue=True)
    content = pipe.call("Page.getLayoutMetrics", session)["cssContentSize"]
    shot = pipe.call("Page.captureScreenshot", session, captureBeyondViewport=True, clip=content | {"scale": 1})
    pipe.call("Target.closeTarget", targetId=target)
    told = [(event.get("method"), event.get("params", {})) for event in pipe.events]
    blocked = {
        about["requestId"] for kind, about in told if kind == "Network.loadingFailed" and "blockedReason" in about
    }
    asked = {about["requestId"]: about["request"]["url"] for kind, about in told if kind == "Network.requestWillBeSent"}
    return {
        "value": said["result"].get("value"),
        "log": [text for event in pipe.events for text in texts(event)],
        "requests": [url for number, url in asked.items() if number not in blocked],
        "width": content["width"],
        "picture": shot["data"],
    }


def main() -> None:
    wanted = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        file = Path(home, "page.html")
        file.write_text(wanted["html"], encoding="utf-8")
        pipe = Pipe(f"{home}/profile")
        seen = [look(pipe, file.as_uri(), wanted["script"], view) for view in wanted["views"]]
        pipe.call("Browser.close")
        pipe.browser.wait(timeout=30)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
