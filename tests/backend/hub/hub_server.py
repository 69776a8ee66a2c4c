"""A small hub on loopback: repositories with commits, and the files' bytes on another host ("CDN"), as the real one does.

Standard library only, Python 3.9: the tests in QGIS use it too.
"""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

OLD, NEW = "a" * 40, "b" * 40  # commits; the branch main is at NEW
REPOSITORY, FILE = "someone/weights", "hr/model.safetensors"


class Request:
    def __init__(self, host: str, method: str, path: str, headers: dict) -> None:
        self.host, self.method, self.path, self.headers = host, method, path, headers

    @property
    def start(self) -> int:
        """First byte that is asked for."""
        return int(self.headers.get("range", "bytes=0-")[len("bytes=") : -1])


class Hub:
    """Use as `with Hub(content) as hub`; `hub.endpoint` is its address.

    Attributes:
        files: path in the repository -> content, for the commit NEW; OLD has the same reversed.
        gated, private: it asks for `token`.
        cut: lengths after which the next answers with content are cut off.
        down: what is answered first of all instead, pairs of host ("hub", "cdn") and status, each once.
        pause_s: between pieces of content of `piece` bytes.
        served: what is served instead of the content (a tampered file).
        claimed_size: the size that is told instead of the content's.
        etag: "sha256" of the content, as of large files; "git" = its oid in git, as of small ones; "none".
        plain: a web page is all that it answers.
        requests: all there were.
    """

    def __init__(self, files: dict) -> None:
        self.files = files
        self.gated = self.private = False
        self.token = "hf_goodtoken"
        self.cut: list = []
        self.down: list = []
        self.pause_s, self.piece = 0.0, 1 << 16
        self.served = None
        self.claimed_size = None
        self.etag = "sha256"
        self.plain = False
        self.requests: list = []

    def __enter__(self) -> "Hub":
        self._servers = [self._serve("hub"), self._serve("cdn")]
        self.endpoint, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def content_requests(self) -> list:
        return [request for request in self.requests if request.host == "cdn"]

    def content(self, commit: str, file: str) -> bytes:
        return self.files[file] if commit == NEW else self.files[file][::-1]

    def _serve(self, host: str) -> ThreadingHTTPServer:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub, Handler.host = hub, host
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    host: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.host, self.command, self.path, headers)
        self.hub.requests.append(request)
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        down = next((item for item in self.hub.down if item[0] == self.host), None)
        if down:
            self.hub.down.remove(down)
            self._send(down[1], {"Content-Type": "text/html"}, b"<html>Bad gateway</html>")
        elif self.hub.plain:
            self._send(200, {"Content-Type": "text/html"}, b"<html>Log in</html>")
        elif self.host == "cdn":
            self._content(request, parts[0], "/".join(parts[1:]))
        elif parts[:2] == ["api", "models"]:
            self._listing("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404, {})

    def _commit(self, repository: str, revision: str) -> str:
        """The commit; "" = refused, and answered."""
        known = self.headers.get("authorization") == f"Bearer {self.hub.token}"
        if repository != REPOSITORY or (self.hub.private and not known):
            self._send(401 if not known else 404, {"X-Error-Code": "RepoNotFound"})
        elif self.hub.gated and not known:
            self._send(401, {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", OLD, NEW):
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return NEW if revision == "main" else revision
        return ""

    def _resolve(self, repository: str, revision: str, file: str) -> None:
        commit = self._commit(repository, revision)
        if not commit:
            return
        if file not in self.hub.files:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = self.hub.content(commit, file)
        size = self.hub.claimed_size or len(content)
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        small = file.endswith(".json") or self.hub.etag == "git"
        large = hashlib.sha256(content).hexdigest() if self.hub.etag == "sha256" else f"v-{commit}"
        etag = git if small else large
        headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(size)}
        self._send(302, {**headers, "Location": f"{self.hub.cdn}/{commit}/{file}?signature=1"})

    def _listing(self, repository: str, revision: str) -> None:
        commit = self._commit(repository, revision)
        if not commit:
            return
        siblings = []
        for name in self.hub.files:
            content = self.hub.content(commit, name)
            digest = hashlib.sha256(content).hexdigest()
            siblings.append(
                {
                    "rfilename": name,
                    "size": len(content),
                    "blobId": "c" * 40,
                    "lfs": {"size": len(content), "sha256": digest, "pointerSize": 134},
                }
            )
        siblings.append({"rfilename": "README.md", "size": 5, "blobId": "d" * 40})
        data = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": []}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(data).encode())

    def _content(self, request: Request, commit: str, file: str) -> None:
        content = self.hub.content(commit, file) if self.hub.served is None else self.hub.served
        start = request.start
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.hub.cut.pop(0) if self.hub.cut else None
        try:
            for at in range(0, len(body) if cut is None else cut, self.hub.piece):
                self.wfile.write(body[at : at + self.hub.piece][: None if cut is None else cut - at])
                self.wfile.flush()
                time.sleep(self.hub.pause_s)
        except OSError:
            pass  # the other side has gone
        self.close_connection = cut is not None

    def _send(self, status: int, headers: dict, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
