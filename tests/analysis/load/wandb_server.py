"""A stand-in for a Weights & Biases server: answers what its client asks when runs are read back, and nothing else."""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from analysis.load.pull import Run

VIEWER = {"id": "1", "entity": "somebody", "username": "somebody", "email": "", "flags": "{}", "teams": {"edges": []}}


class WandbServer:
    """Serves `runs` as a project on a port of this machine; None stands for a project that does not exist."""

    def __init__(self, runs: Sequence[Run] | None) -> None:
        served = self
        self.runs = None if runs is None else {f"run{place}": run for place, run in enumerate(runs)}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                body = json.dumps({"data": served.answer(asked["query"], asked.get("variables") or {})}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of one GraphQL query."""
        if "viewer" in query:
            return {"viewer": VIEWER}
        if self.runs is None:
            return {"project": None}
        if "runs(" in query:
            edges = [{"node": self._node(name), "cursor": name} for name in self.runs]
            page = {"endCursor": None, "hasNextPage": False}
            return {
                "project": {"internalId": "1", "runCount": len(edges), "runs": {"edges": edges, "pageInfo": page}}
                | {"readOnly": False}
            }
        if "parquetHistory" in query:
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
        if "history(" in query:
            rows = self.runs[variables["run"]].history
            page_of = rows[variables["minStep"] : variables["maxStep"]]
            return {"project": {"run": {"history": [json.dumps(row) for row in page_of]}}}
        return {"project": {"run": self._node(variables["name"])}}

    def _node(self, name: str) -> dict[str, Any]:
        assert self.runs is not None
        run = self.runs[name]
        return {
            "id": name, "name": name, "displayName": name, "projectId": "1", "internalId": "1", "sweepName": None,
            "tags": [], "state": "finished", "group": run.arm, "jobType": run.task, "commit": None, "readOnly": False,
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "description": "", "notes": "",
            "systemMetrics": "{}", "historyLineCount": len(run.history),
            "historyKeys": {"lastStep": len(run.history) - 1}, "user": {"name": "s", "username": "somebody"},
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "summaryMetrics": json.dumps(run.summary),
        }  # fmt: skip
