"""One serving process, composed: log, views, models, service, gRPC server, health. Only it knows all.

Everything gRPC is created here, after the fork.
"""

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bandit.eventlog.files import Database
from bandit.eventlog.group_commit import GroupCommit
from bandit.eventlog.log import LogUnwritable
from bandit.eventlog.sqlite import SqliteEventLog
from bandit.logs import configure
from bandit.secret import read_key
from bandit.serving import components
from bandit.serving.interceptors import Gate, Phase
from bandit.serving.loading import OneByOne, in_turn
from bandit.serving.metrics import Metrics
from bandit.serving.models import QUICK_POLICIES, Models
from bandit.serving.service import Service
from bandit.serving.servicers import SERVICE, add_bandit_service
from bandit.serving.standstill import Standstill
from bandit.serving.transport import new_server
from bandit.serving.views import Views
from bandit.settings import Settings
from bandit.snapshots.store import SnapshotStore

REFRESH_SECONDS: Final = 0.1
AGE_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 0.5
"""How long a draining server with nothing in flight goes on telling callers that it drains."""

LEAVE_SECONDS: Final = 0.05
"""The transport has so long to send the last reply."""


def run(settings: Settings, index: int, address: str, database: Database, report: components.Report) -> None:
    """Serves until SIGTERM. `database` is the log's file. Raises LogUnwritable if another is in its place."""
    configure(settings.log_level, process=f"worker-{index}")
    import uvloop

    # What was imported lives as long as the process; a full collection walking it stops every call for 12 ms.
    gc.freeze()

    # Not `uvloop.run`, nor a stop of the server: both answer calls that are just arriving with CANCELLED,
    # which says that the caller gave up. When the process ends, they are UNAVAILABLE, as for a server that is
    # gone.
    uvloop.new_event_loop().run_until_complete(_App(settings, address, database, report).serve())


_kept: Final[list[grpc.aio.Server]] = []
"""Until the process ends, since a server that is freed is stopped."""


class _App:
    def __init__(
        self, settings: Settings, address: str, database: Database, report: components.Report
    ) -> None:
        self._settings = settings
        self._address = address
        self._database = database
        self._report = report
        self._logger = structlog.get_logger("server")
        self._views = Views()
        self._models = Models(SnapshotStore(settings.data_dir, keep=settings.snapshots_kept))
        self._metrics = Metrics(self._catalogue_of)
        self._gate = Gate(settings.calls_in_flight_max)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # set only where grpc.aio is
        self._log_up = True
        self._standstill = Standstill()
        self._components_ns = 0
        self._aged_s = 0.0

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        # Two instances of the log, so that a refresh never waits for a sync or a reopening.
        reader = self._open_log()
        self._views.take(reader.definitions())
        log = GroupCommit(
            self._open_log(),
            partial(_soon, loop),
            on_state=lambda up: _soon(loop, self._log_state, up, log),
            on_commit=self._metrics.committed,
            on_sync=self._metrics.synced,
        )

        policies = OneByOne(self._models)
        service = Service(
            views=self._views,
            models=policies,
            log=log,
            key=read_key(self._settings.data_dir),
            metrics=self._metrics,
        )
        server = self._server(service, loop)
        _kept.append(server)
        await server.start()
        self._gate.phase = Phase.SERVING
        await self._publish_health()
        self._report(components.LOG, True, "")
        self._logger.info(
            "serving",
            address=self._address,
            transport=self._settings.transport.value,
            experiments=len(self._views),
        )
        warming = asyncio.create_task(self._warm(policies))
        refresher = asyncio.create_task(self._refresh(reader, log))
        await stop.wait()
        await self._drain()
        warming.cancel()
        refresher.cancel()
        await asyncio.to_thread(log.close)
        self._metrics.flush()
        self._logger.info("stopped")

    async def _warm(self, policies: OneByOne) -> None:
        """Loads policies before the first calls ask for them: as many as are loaded for the least time."""
        for view in itertools.islice(self._views, QUICK_POLICIES):
            # Whoever asks for one that can't be loaded is told.
            with contextlib.suppress(Exception):
                await policies.load(view)

    def _open_log(self) -> SqliteEventLog:
        return SqliteEventLog(self._settings.data_dir, create=False, database=self._database)

    def _server(self, service: Service, loop: asyncio.AbstractEventLoop) -> grpc.aio.Server:
        server = new_server(self._settings.transport)
        add_bandit_service(server, service, self._gate, self._metrics, loop)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        # A Unix socket is its owner's alone.
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(self._address)
        finally:
            os.umask(mask)
        return server

    async def _drain(self) -> None:
        """Calls in flight finish; later ones are refused; health says NOT_SERVING for good."""
        self._gate.phase = Phase.DRAINING
        self._logger.info("draining", in_flight=self._gate.in_flight)
        await self._health.enter_graceful_shutdown()
        # New calls must hear DRAINING from us, so the port stays open until those in flight are done, and a
        # little longer: who had no call under way has not been told yet.
        began = time.monotonic()
        linger = began + min(LINGER_SECONDS, self._settings.drain_seconds * 0.2)
        deadline = began + self._settings.drain_seconds * 0.7
        while (now := time.monotonic()) < linger or (self._gate.in_flight and now < deadline):
            await asyncio.sleep(0.01)
        await asyncio.sleep(LEAVE_SECONDS)

    async def _refresh(self, reader: SqliteEventLog, log: GroupCommit) -> None:
        """Carries counts over; takes new definitions, snapshots and component states; a failure is logged and
        tried again.
        """
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                # First, while the catalogues are those that the decisions were made from.
                self._metrics.flush()
                changed = self._views.take(reader.definitions(self._views.seq))
                changed += self._models.loaded_lately()
                published = self._models.something_published()
                for experiment_id in self._models.in_memory() if published else changed:
                    view = self._views.find(experiment_id)
                    began = time.perf_counter()
                    if view is not None and await in_turn(self._models.refreshing(view)):
                        self._logger.debug("policy changed", experiment_id=experiment_id)
                        # The calls that came while a snapshot was loaded go first, however many are new.
                        await asyncio.sleep(time.perf_counter() - began)
                        self._models.close_unused()
                        self._metrics.flush()
                await self._take_components()
                # Not by the wall clock: that it was set back is one of the things to report.
                if time.monotonic() - self._aged_s >= AGE_SECONDS:
                    self._aged_s = time.monotonic()
                    self._report_age()
                    self._report_standstill(reader)
            except LogUnwritable as error:
                if log.failure is None:
                    self._logger.error("log not readable", error=str(error))
                # The writer, which tells everyone, may have had nothing to do since the log died.
                log.sync(lambda failure: None)
                await asyncio.sleep(AGE_SECONDS)
                with contextlib.suppress(LogUnwritable):
                    reader.reopen()
            except Exception:
                self._logger.exception("refresh failed")
                await asyncio.sleep(AGE_SECONDS)

    async def _take_components(self) -> None:
        changed_ns = components.changed_ns(self._settings.data_dir)
        if changed_ns != self._components_ns:
            self._components_ns = changed_ns
            await self._publish_health()

    async def _publish_health(self) -> None:
        """gRPC health by component; the service as a whole is well while this process can write the log."""
        states = components.read_components(self._settings.data_dir)
        for name, component in states.items():
            if name != components.LOG:
                await self._health.set(name, _serving(bool(component["ok"])))
        for name in ("", SERVICE, components.LOG):
            await self._health.set(name, _serving(self._log_up and self._gate.phase is Phase.SERVING))

    def _log_state(self, up: bool, log: GroupCommit) -> None:
        self._log_up = up
        self._metrics.log_up(up)
        detail = self._standstill.detail if up else str(log.failure or "the event log can't be written")
        self._report(components.LOG, up, detail)
        if up:
            self._logger.info("log writable again")
        else:
            self._logger.error("log unwritable", error=detail)
        task = asyncio.get_running_loop().create_task(self._publish_health())
        task.add_done_callback(lambda done: done.exception())

    def _report_age(self) -> None:
        now = time.time()
        for experiment_id in self._models.in_memory():
            position = self._models.position(experiment_id)
            if position is not None:
                self._metrics.snapshot_age(experiment_id, max(0.0, now - position.closing_us / 1e6))

    def _report_standstill(self, reader: SqliteEventLog) -> None:
        before = self._standstill.detail
        changed = self._standstill.look(reader.head()[1], time.time_ns() // 1_000)
        self._metrics.log_ahead_us(self._standstill.ahead_us)
        if not changed:
            return
        detail = self._standstill.detail
        if not detail:
            self._logger.info("log time moves again")
        elif not before:
            self._logger.warning("log time stands still", detail=detail)
        # It serves all the same: to be out of rotation for as long as the clock was ahead helps nobody.
        if self._log_up:
            self._report(components.LOG, True, detail)

    def _catalogue_of(self, experiment_id: str) -> frozenset[str]:
        view = self._views.find(experiment_id)
        return frozenset(variant.id for variant in view.catalogue) if view is not None else frozenset()


def _serving(well: bool) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
    return health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        # The loop has ended, and with it everyone who waits.
        return
