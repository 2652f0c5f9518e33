"""The process behind --metrics-listen: /metrics for Prometheus, /health for people and probes."""

import json
import signal
import socketserver
import threading
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bandit.serving.components import read_components

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

REQUEST_SECONDS_MAX: Final = 5


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS_MAX

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def run(host: str, port: int, data_dir: Path) -> None:
    """Answers until a signal ends the process."""
    serve(host, port, data_dir)
    signal.pause()


def serve(host: str, port: int, data_dir: Path) -> WSGIServer:
    """Starts answering on a thread of its own. The caller shuts it down."""
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    metrics = make_wsgi_app(registry)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            page: Iterable[bytes] = metrics(environ, start_response)
            return page
        if environ["PATH_INFO"] == "/health":
            components = read_components(data_dir)
            healthy = all(component["ok"] for component in components.values())
            status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps({"ok": healthy, "components": components}, indent=1).encode()
        else:
            status, body = HTTPStatus.NOT_FOUND, b'{"error": "see /metrics and /health"}'
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [body]

    server = make_server(host, port, application, server_class=_Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
    return server
