"""A hub on this machine: as much of its API as the client needs to make, fill and fetch a dataset."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.helpers.servers import listening


@dataclass
class Repo:
    """A dataset: its files, and who may see it."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    revision: str = "main"

    @property
    def sha(self) -> str:
        content = repr(sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files.items()))
        return hashlib.sha1(content.encode()).hexdigest()

    @property
    def tags(self) -> list[str]:
        header = self.files.get("README.md", b"").decode().split("\n---\n")[0]
        return re.findall(r"^- ([\w-]+)$", header, re.MULTILINE)


@dataclass
class FakeHub:
    """The datasets by their ids, and what was asked of the hub."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forbids: bool = False  # to write
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def answer(self, status: int, content: Any = None, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_one(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"{self.command} {path}")
        if path == "/api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        if self.command == "POST" and self.hub.forbids:
            return self.answer(403, {"error": "forbidden"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.repos[name] = Repo(asked.get("visibility") == "private" or asked.get("private", False))
            return self.answer(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name, "id": name})
        parts = re.fullmatch(r"/(?:api/)?datasets/([\w.-]+/[\w.-]+)(?:/(\w+)/(.*))?", path)
        repo = self.hub.repos.get(parts[1]) if parts else None
        if parts is None or repo is None:
            return self.answer(404, {"error": "not found"}, X_Error_Code="RepoNotFound", X_Error_Message="not found")
        name, action, rest = parts.groups()
        if action in ("revision", "tree", "resolve"):
            known = next((r for r in (repo.sha, repo.revision) if rest == r or rest.startswith(f"{r}/")), None)
            if known is None:
                return self.answer(404, {"error": "no"}, X_Error_Code="RevisionNotFound", X_Error_Message="no")
            rest = rest.removeprefix(known).lstrip("/")
        if action == "resolve":
            return self.file(repo, rest)
        answers = {None: self.about, "revision": self.about, "tree": self.tree}
        if action in answers:
            return self.answer(200, answers[action](name, repo))
        if action == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                repo.files.pop(line["value"]["path"])
        return self.answer(
            200, {"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{repo.sha}", "commitOid": repo.sha}
        )

    def about(self, name: str, repo: Repo) -> dict[str, Any]:
        files = [{"rfilename": path} for path in repo.files]
        return {"id": name, "sha": repo.sha, "private": repo.private, "tags": repo.tags, "siblings": files}

    def tree(self, _: str, repo: Repo) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in repo.files.items()
        ]

    def file(self, repo: Repo, path: str) -> None:
        if path not in repo.files:
            return self.answer(404, {"error": "no"}, X_Error_Code="EntryNotFound", X_Error_Message="no")
        etag = f'"{hashlib.sha1(repo.files[path]).hexdigest()}"'
        return self.answer(200, repo.files[path], ETag=etag, X_Repo_Commit=repo.sha)

    do_GET = do_HEAD = do_POST = handle_one  # noqa: N815


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens until the end."""
    hub = FakeHub()
    with listening(type("Handler", (_Handler,), {"hub": hub})) as hub.url:
        yield hub
