"""The metrics page while a process starts."""

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from bandit.serving.page import READ_AGAIN_SECONDS, patient


def page_of(folder: Path) -> Any:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # untyped upstream
    return make_wsgi_app(registry)


def read(page: Any) -> list[str]:
    statuses: list[str] = []
    list(
        page(
            {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics"},
            lambda status, headers: statuses.append(status),
        )
    )
    return statuses


def test_a_file_of_counters_that_is_just_being_made_is_waited_for(tmp_path: Path) -> None:
    making = tmp_path / "counter_1.db"
    making.touch()
    # What the patience is for: the library itself fails.
    with pytest.raises(Exception, match="unpack"):
        read(page_of(tmp_path))
    made = threading.Timer(1.5 * READ_AGAIN_SECONDS, making.write_bytes, [bytes(1 << 16)])
    made.start()
    assert read(patient(page_of(tmp_path))) == ["200 OK"]
    made.join()


def test_what_stays_unreadable_is_told(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()
    with pytest.raises(Exception, match="unpack"):
        read(patient(page_of(tmp_path)))
