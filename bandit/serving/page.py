"""The process behind --metrics-listen: /metrics for Prometheus, /health for people and probes."""

import json
import socket
import socketserver
import time
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog

from bandit.serving.address import shown
from bandit.serving.components import read_components

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_SECONDS_MAX: Final = 5

READINGS: Final = 5
READ_AGAIN_SECONDS: Final = 0.05
"""A process that starts makes the files of its counters, and a file that isn't filled yet can't be read."""


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS_MAX

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, application: "WSGIApplication") -> None:
        """Accepts from a socket that listens already."""
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(application)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away, most likely."""
        structlog.get_logger("page").warning("page request failed", exc_info=True)


def run(listening: socket.socket, data_dir: Path) -> None:
    """Answers until a signal ends the process."""
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.multiprocess import MultiProcessCollector

    logger = structlog.get_logger("page")
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
    metrics = patient(make_wsgi_app(registry))

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            if environ["PATH_INFO"] == "/metrics":
                return metrics(environ, start_response)
            status, answer = _answer(environ["PATH_INFO"], data_dir)
        except Exception:
            # Left to the server, it would be printed as a traceback among the lines of the log.
            logger.exception("page failed")
            status, answer = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "see the log"}
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [json.dumps(answer, indent=1).encode()]

    logger.info("page up", address=shown(listening))
    _Server(listening, application).serve_forever()


def patient(metrics: "WSGIApplication") -> "WSGIApplication":
    """The same page, which is read again where reading it fails before anything was answered."""

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        for _ in range(READINGS - 1):
            try:
                return metrics(environ, start_response)
            except Exception:
                time.sleep(READ_AGAIN_SECONDS)
        return metrics(environ, start_response)

    return application


def _answer(path: str, data_dir: Path) -> tuple[HTTPStatus, dict[str, Any]]:
    if path != "/health":
        return HTTPStatus.NOT_FOUND, {"error": "see /metrics and /health"}
    components = read_components(data_dir)
    healthy = all(component["ok"] for component in components.values())
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return status, {"ok": healthy, "components": components}
