"""A proxy for https: `proxy.py PORT HOST…` lets connections to port 443 of these hosts through, with the login $LOGIN.

It prints each address that it connects to.
"""

import base64
import os
import socket
import socketserver
import sys
import threading

REFUSED = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LOGIN = b"basic " + base64.b64encode(os.environ["LOGIN"].encode())


class Proxy(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Answer CONNECT, and pass the bytes on."""
        method, address, *_ = self.rfile.readline().decode("latin-1").split()
        headers = {}
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        kind, _, login = headers.get(b"proxy-authorization", b"").partition(b" ")
        if kind.lower() + b" " + login != LOGIN:
            self.wfile.write(REFUSED % b"407 Proxy Authentication Required")
        elif method != "CONNECT" or address not in {f"{host}:443" for host in sys.argv[2:]}:
            self.wfile.write(REFUSED % b"403 Forbidden")
        else:
            sys.stdout.write(f"{address}\n")
            with socket.create_connection((address.partition(":")[0], 443)) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=copy, args=(there, self.connection), daemon=True).start()
                copy(self.connection, there)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one side ends."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


if __name__ == "__main__":
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("", int(sys.argv[1])), Proxy) as server:
        server.serve_forever()
