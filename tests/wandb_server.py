"""A stand-in for a Weights & Biases server: it keeps what its client sends, gives it back, and fails as it is told to.

It knows the requests that the client makes which the suite uses, and answers any other with an error that names it.
"""

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

VIEWER = {"id": "1", "entity": "somebody", "username": "somebody", "email": "", "flags": "{}", "teams": {"edges": []}}
PAGE = {"endCursor": None, "hasNextPage": False}
HANG = 0  # in place of a status: no answer as long as the server is there


@dataclass
class StoredRun:
    """A run as the server has it: `history` are lines of JSON."""

    name: str
    project: str = "policy-gradient-bench"
    group: str = ""
    job_type: str = ""
    host: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    state: str = "running"

    def node(self) -> dict[str, Any]:
        """What a query for it answers."""
        last = max((json.loads(line).get("_step", place) for place, line in enumerate(self.history)), default=-1)
        return {
            "id": self.name, "name": self.name, "displayName": self.name, "projectId": "1", "internalId": "1",
            "sweepName": None, "tags": self.tags, "state": self.state, "group": self.group, "jobType": self.job_type,
            "commit": None, "readOnly": False, "createdAt": "2026-01-01T00:00:00", "description": "", "notes": "",
            "heartbeatAt": "2026-01-01T00:00:00", "systemMetrics": "{}", "historyLineCount": len(self.history),
            "historyKeys": {"lastStep": last}, "user": {"name": "s", "username": "somebody"},
            "config": json.dumps({key: {"value": value} for key, value in self.config.items()}),
            "summaryMetrics": json.dumps(self.summary),
        }  # fmt: skip


Answer = int | Callable[["WandbServer", Mapping[str, Any]], Any]


class WandbServer:
    """Serves the runs of a project on a port of this machine; None stands for a project that does not exist.

    Attributes:
        answers: by kind of request (`upsert`, `file_stream`, `runs`, `history`, `viewer`, …, or `all`), the status that
            it is answered with in place of what it asks for; `HANG` is none at all.
        kept: how many rows of a history the server keeps of those it is sent; None for all.
        asked: the kinds of all requests so far, and for those of one run its name.
    """

    def __init__(self, runs: Iterable[StoredRun] | None = ()) -> None:
        self.runs = None if runs is None else {run.name: run for run in runs}
        self.answers: dict[str, int] = {}
        self.kept: int | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.unknown: list[str] = []
        self._over = threading.Event()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                self.answer(*served.post(unquote(self.path), json.loads(body or b"{}")))

            def do_GET(self) -> None:
                self.answer(404, {})

            do_PUT = do_GET

            def answer(self, status: int, data: Any) -> None:
                if status == HANG:
                    served._over.wait()
                    self.close_connection = True
                    return
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """A client that was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false"}

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def post(self, path: str, asked: Mapping[str, Any]) -> tuple[int, Any]:
        """The status and the body that answer a request."""
        stream = re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path)
        if stream:
            kind, name = "file_stream", stream[3]
        elif path == "/graphql":
            kind, name = self._kind(asked)
        else:
            kind, name = path, None
        self.asked.append((kind, name))
        status = self.answers.get(f"{kind} {name}", self.answers.get(kind, self.answers.get("all", 200)))
        if status != 200:
            return status, {"errors": [{"message": f"made up {status}"}]}
        if stream:
            return 200, self._stream(stream[3], asked)
        answer = getattr(self, f"_{kind}", None)
        if answer is None:
            self.unknown.append(json.dumps(asked)[:2000])
            return 400, {"errors": [{"message": f"unknown request {kind}"}]}
        return 200, {"data": answer(asked.get("variables") or {})}

    def _kind(self, asked: Mapping[str, Any]) -> tuple[str, str | None]:
        query, variables = asked["query"], asked.get("variables") or {}
        name = variables.get("name") or variables.get("run")
        for part, kind in (
            ("upsertBucket", "upsert"), ("parquetHistory", "parquet"), ("history(", "history"), ("runs(", "runs"),
            ("viewer", "viewer"), ("run(name", "run"), ("bucket(name", "bucket"),
        ):  # fmt: skip
            if part in query:
                return kind, name
        found = re.search(r"(query|mutation)\s+(\w+)", query)
        return (found[2] if found else "nameless"), name

    def _viewer(self, _: Mapping[str, Any]) -> Any:
        return {"viewer": VIEWER}

    def _upsert(self, given: Mapping[str, Any]) -> Any:
        assert self.runs is not None
        name = given["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun(name))
        run.project, run.group = given.get("project") or run.project, given.get("groupName") or run.group
        run.job_type, run.host = given.get("jobType") or run.job_type, given.get("host") or run.host
        run.tags = given.get("tags") or run.tags
        if given.get("config"):
            entries = json.loads(given["config"])
            run.config = {key: entry.get("value") for key, entry in entries.items() if isinstance(entry, dict)}
        project = {"id": "1", "name": run.project, "entity": {"id": "1", "name": "somebody"}}
        bucket = {"id": name, "name": name, "displayName": name, "description": None, "config": "{}"}
        bucket |= {"sweepName": None, "historyLineCount": len(run.history), "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _stream(self, name: str, sent: Mapping[str, Any]) -> Any:
        assert self.runs is not None
        run = self.runs[name]
        for file, part in (sent.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                for place, line in enumerate(part["content"], part["offset"]):
                    if self.kept is None or place < self.kept:
                        run.history[place : place + 1] = [line]
            elif file == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if sent.get("complete"):
            run.state = "finished"
        return {"limits": {}}

    def _runs(self, given: Mapping[str, Any]) -> Any:
        if self.runs is None or (self.runs and given["project"] not in {run.project for run in self.runs.values()}):
            return {"project": None}
        wanted = json.loads(given.get("filters") or "{}").get("name", {}).get("$in", self.runs)
        edges = [{"node": run.node(), "cursor": name} for name, run in self.runs.items() if name in wanted]
        found = {"runCount": len(edges), "runs": {"edges": edges, "pageInfo": PAGE}}
        return {"project": {"internalId": "1", "readOnly": False} | found}

    def _parquet(self, _: Mapping[str, Any]) -> Any:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}

    def _history(self, given: Mapping[str, Any]) -> Any:
        assert self.runs is not None
        rows = self.runs[given["run"]].history
        steps = [json.loads(row).get("_step", place) for place, row in enumerate(rows)]
        first, last = given["minStep"], given["maxStep"]
        page = [row for row, step in zip(rows, steps, strict=True) if first <= step < last]
        return {"project": {"run": {"history": page}}}

    def _run(self, given: Mapping[str, Any]) -> Any:
        assert self.runs is not None
        return {"project": {"run": self.runs[given["name"]].node()}}
