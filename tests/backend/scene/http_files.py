"""A small HTTP server of one file, which can stop answering in the middle of it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `data` as /x.tif, in parts where these are asked for.

    Attributes:
        silent_from: a part that reaches beyond this byte is begun, and never ended; None: all are sent.
        tag: the file's ETag.
    """

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.tag = data, "one"
        self.silent_from: int | None = None
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/x.tif"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        data = self.server.data
        if self.path != "/x.tif":
            self.send_error(404)
            return
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(part[1]) if part else 0
        last = min(int(part[2]) if part and part[2] else len(data) - 1, len(data) - 1)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.server.tag}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        silent = self.server.silent_from
        if silent is not None and last >= silent:
            self.wfile.write(data[first : max(first, silent)])
            self.server.ended.wait(60)
            self.close_connection = True
            return
        self.wfile.write(data[first : last + 1])


@contextmanager
def serving(data: bytes) -> Iterator[FileServer]:
    """A server of a file's bytes, for as long as the context lasts."""
    server = FileServer(data)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
