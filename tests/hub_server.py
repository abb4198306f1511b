"""A small server that answers what huggingface_hub asks of the Hugging Face Hub to read a dataset or a model, and to
put a model there.

It stands in for the Hub, and is not it: it was written from what the library sends and takes.
"""

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Datasets and models by their names, each with commits by their ids; `main` is the newest.

    Attributes:
        url: of the server.
        asked: methods and paths of all requests, in order.
        failing: statuses that the next requests get instead of an answer.
        gated: datasets that nobody may read.
        created: what was said of repositories that were made.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []
        self.failing: list[int] = []
        self.gated: set[str] = set()
        self.created: list[dict[str, object]] = []
        self._repositories: dict[str, dict[str, Mapping[str, bytes]]] = {}

    def commit(self, repository: str, files: Mapping[str, bytes]) -> str:
        """Make a commit with these files; gives its id."""
        commits = self._repositories.setdefault(repository, {})
        name = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits[name] = dict(files)
        return name

    def files_of(self, repository: str) -> Mapping[str, bytes]:
        """Those of the newest commit."""
        return list(self._repositories[repository].values())[-1]

    def take(self, url: str, content: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a POST: a model is made, files are announced, a commit."""
        parts = urlsplit(url).path.strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return _json({"errors": [], "warnings": []})
        if parts == ["api", "repos", "create"]:
            self.created.append(json.loads(content))
            name = "/".join(str(self.created[-1][key]) for key in ("organization", "name"))
            self._repositories.setdefault(name, {})
            return _json({"url": f"{self.url}/{name}", "id": name})
        _, _, owner, name, action, _ = parts
        repository = f"{owner}/{name}"
        if action == "preupload":
            files = json.loads(content)["files"]
            known = {"uploadMode": "regular", "shouldIgnore": False}
            return _json({"files": [{"path": file["path"], **known} for file in files]})
        said = [json.loads(line) for line in content.splitlines()]
        added = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in said if one["key"] == "file"
        }
        commits = self._repositories[repository]
        commit = self.commit(repository, {**(self.files_of(repository) if commits else {}), **added})
        return _json({"commitUrl": f"{self.url}/{repository}/commit/{commit}", "commitOid": commit})

    def answer(self, url: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a GET."""
        asked = urlsplit(url)
        parts = [unquote(part) for part in asked.path.strip("/").split("/")]
        if parts[0] == "api":
            if len(parts) < 4:
                return _error(404, "")
            _, _, owner, name, *rest = parts
            action, revision, inner = (*rest[:2], "/".join(rest[2:])) if rest else ("revision", "main", "")
        else:
            owner, name, action, revision, *names = parts[1:] if parts[0] == "datasets" else parts
            inner = "/".join(names)
        dataset = f"{owner}/{name}"
        if dataset in self.gated:
            return _error(403, "GatedRepo")
        if dataset not in self._repositories:
            return _error(401, "RepoNotFound")
        commits = self._repositories[dataset]
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return _error(404, "RevisionNotFound")
        if action == "revision":
            return _json({"id": dataset, "sha": commit, "siblings": []})
        if action == "tree":
            tree = _tree(commits[commit], inner, "recursive=true" in asked.query.lower())
            return _json(tree) if tree else _error(404, "EntryNotFound")
        if inner not in commits[commit]:
            return _error(404, "EntryNotFound")
        return _file(inner, commits[commit][inner], headers)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers as long as the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.asked.append((self.command, self.path))
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if hub.failing:
                status, headers, body = hub.failing.pop(0), {}, b"not now"
            elif self.command == "POST" and self.path.startswith("/api/"):
                status, headers, body = hub.take(self.path, content)
            elif self.command != "GET":
                status, headers, body = _error(405, "")
            else:
                status, headers, body = hub.answer(self.path, self.headers)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """`asked` has them."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _tree(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """Files and folders directly below a folder, or all below it."""
    start = f"{folder}/" if folder else ""
    found: dict[str, dict[str, object]] = {}
    for path, content in files.items():
        if not path.startswith(start):
            continue
        ends = [place for place, letter in enumerate(path) if letter == "/" and place >= len(start)]
        for end in ends if recursive else ends[:1]:
            oid = hashlib.sha1(path[:end].encode()).hexdigest()
            found[path[:end]] = {"type": "directory", "path": path[:end], "oid": oid, "size": 0}
        if recursive or not ends:
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            found[path] = {"type": "file", "path": path, "oid": oid, "size": len(content)}
    return list(found.values())


def _file(name: str, content: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    wanted = headers.get("Range")
    if name.endswith(".json") and "gzip" in headers.get("Accept-Encoding", ""):  # so does the network before the Hub
        return 200, {"Content-Encoding": "gzip"}, gzip.compress(content)
    if wanted is None:
        return 200, {}, content
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if int(first) >= len(content):
        return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
    part = content[int(first) : int(last) + 1 if last else None]
    return 206, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"}, part


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}"
