"""The web surface: status page, metrics, health, and whatever routers a part brings along."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from onpace.alerts.scorecard_text import scorecard_document
from onpace.alerts.status_page import status_document, status_page
from onpace.config.calendar import Period
from onpace.config.errors import OnPaceError, StoreUnavailable
from onpace.deploy.dead_letters import DeadLetters, Place
from onpace.deploy.sockets import url_of
from onpace.deploy.web_why import why_router
from onpace.deploy.wiring import AlertPart, version
from onpace.ingest.gateway import EventSubmitter

__all__ = ["WebServer", "close_submitter", "dead_letter_router", "web_app"]

log = structlog.get_logger(__name__)


def web_app(
    registry: CollectorRegistry,
    *,
    alerts: AlertPart | None = None,
    routers: Sequence[APIRouter] = (),
    healthy: Callable[[], str | None],
) -> FastAPI:
    """`/metrics` and `/healthz`, the status page where an engine runs here, and the given routers.

    `healthy` returns what is wrong, or None.
    """
    app = FastAPI(
        title="OnPace", version=version(), description="Business events in; KPI values, statuses and alerts out."
    )

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", tags=["operations"])
    def healthz() -> JSONResponse:
        """200 while everything in this process runs; 503 with the reason otherwise."""
        wrong = healthy()
        return JSONResponse({"status": wrong or "ok"}, 503 if wrong else 200)

    if alerts is not None:
        _add_status(app, alerts)
        app.include_router(why_router(alerts))
    for router in routers:
        app.include_router(router)
    return app


def _add_status(app: FastAPI, alerts: AlertPart) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(status_page())

    @app.get("/api/status", tags=["status"])
    def status() -> JSONResponse:
        """Every KPI with value, target, gap and status, its leading indicators, and what fires."""
        try:
            latest = alerts.shown()
        except StoreUnavailable as exc:
            return JSONResponse({"error": str(exc)}, 503)
        if latest is None:
            return JSONResponse({"now": None, "alerts": [], "stale_sources": [], "kpis": []})
        return JSONResponse(status_document(latest, alerts.catalog) | {"standing_by": alerts.standing_by})

    @app.get("/api/scorecard", tags=["status"])
    def scorecard(period: str | None = None, team: str | None = None) -> JSONResponse:
        """Objectives and KPIs by perspective, of a period such as 2026-Q4 or 2026-10; by default the current quarter.

        What is individual is not in it. 422 for a period that is none or has not begun, 503 while nothing is known.
        """
        try:
            latest = alerts.shown()
            if latest is None:
                return JSONResponse({"error": "nothing has been evaluated yet"}, 503)
            asked = Period.parse(period) if period else None
            return JSONResponse(scorecard_document(alerts.scorecard(latest, asked, team=team)))
        except StoreUnavailable as exc:
            return JSONResponse({"error": str(exc)}, 503)
        except (OnPaceError, ValueError) as exc:
            return JSONResponse({"error": str(exc)}, 422)


def dead_letter_router(letters: DeadLetters) -> APIRouter:
    """Lets `onpace dlq replay` note what it sent again, while this process holds the store."""
    router = APIRouter()

    @router.post("/api/dead-letters/replayed", tags=["operations"])
    def replayed(names: list[str]) -> dict[str, int]:
        """Mark these dead letters as sent again."""
        found = [letter for name in names if (letter := letters.get(Place.parse(name)))]
        letters.mark_replayed(found)
        return {"marked": len(found)}

    return router


def close_submitter(submitter: EventSubmitter) -> None:
    """Deliver what a gateway has under way, and disconnect."""
    try:
        submitter.close()
    except OnPaceError as exc:
        log.warning("not delivered before the end", reason=str(exc))


class WebServer:
    """uvicorn inside a running event loop, without signal handlers of its own."""

    def __init__(self, app: FastAPI, bound: socket.socket) -> None:
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._server.capture_signals = _no_signals  # type: ignore[method-assign]
        self._socket = bound
        self._task: asyncio.Task[None] | None = None
        self.url = url_of(bound)

    async def start(self) -> None:
        """Return once requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="web")
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finish the requests under way and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield
