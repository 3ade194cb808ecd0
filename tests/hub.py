"""A stand-in for the Hugging Face hub on 127.0.0.1: the listing, the HEAD and the ranged GET of files, and refusals."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "c" * 40


@dataclass
class Refusal:
    status: int
    code: str = ""
    message: str = ""


@dataclass
class Hub:
    """What the stand-in serves and how it misbehaves; paths are "owner/name/file".

    files     content
    refusals  answers other than the file
    stated    content that the HEAD describes where it is not the one that is sent
    cuts      after how many bytes the next connections break, one entry used up by each GET
    asked     (path, Range header or None) of every GET of a file
    """

    endpoint: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    stated: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            if (path := self._file()) is None:
                return
            content = hub.stated.get(path, hub.files[path])
            self._answer(
                200,
                {
                    "ETag": '"plain"',
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Linked-Size": str(len(content)),
                    "X-Repo-Commit": COMMIT,
                    "Content-Length": str(len(content)),
                },
            )

        def do_GET(self) -> None:
            if self.path.startswith("/api/models/"):
                self._listing()
            elif self.path.startswith("/zoo/"):
                content = hub.files.get(self.path[1:])
                self._answer(*((404, {"Content-Length": "0"}) if content is None else (200, self._sized(content))))
                self.wfile.write(content or b"")
            elif (path := self._file()) is not None:
                self._content(path)

        def _content(self, path: str) -> None:
            span = self.headers.get("Range")
            hub.asked.append((path, span))
            whole = hub.files[path]
            begin = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
            if begin and begin >= len(whole):
                self._answer(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(whole)}"})
                return
            content = whole[begin:]
            headers = self._sized(content)
            if span:
                headers["Content-Range"] = f"bytes {begin}-{len(whole) - 1}/{len(whole)}"
            self._answer(206 if span else 200, headers)
            cut = hub.cuts.pop(0) if hub.cuts else len(content)
            self.wfile.write(content[:cut])
            if cut < len(content):
                self.close_connection = True

        def _listing(self) -> None:
            repo = "/".join(self.path.split("?")[0].split("/")[3:5])
            if refused := hub.refusals.get(repo):
                self._refuse(refused)
                return
            files = {name[len(repo) + 1 :]: body for name, body in hub.files.items() if name.startswith(f"{repo}/")}
            tree = [{"type": "file", "path": name, "size": len(body), "oid": "0"} for name, body in files.items()]
            content = json.dumps(tree).encode()
            self._answer(200, {**self._sized(content), "Content-Type": "application/json"})
            self.wfile.write(content)

        def _file(self) -> str | None:
            """`/owner/name/resolve/revision/path`, or an answer that it is not to be had."""
            owner, name, _, revision, *rest = self.path.split("?")[0].strip("/").split("/")
            hub.revisions.add(revision)
            path = "/".join([owner, name, *rest])
            refused = hub.refusals.get(path)
            if refused is None and path not in hub.files:
                refused = Refusal(404, "EntryNotFound", "Entry not found")
            if refused is not None:
                self._refuse(refused)
                return None
            return path

        def _refuse(self, refusal: Refusal) -> None:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message, "Content-Length": "0"}
            self._answer(refusal.status, {name: value for name, value in headers.items() if value})

        def _sized(self, content: bytes) -> dict[str, str]:
            return {"Content-Length": str(len(content))}

        def _answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
