"""Silences and acknowledgements over HTTP, for the commands and for whoever automates them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field

from onpace.alerts.silence_rows import acknowledgement_row, silence_row
from onpace.config.errors import OnPaceError, StoreUnavailable, UnknownName
from onpace.config.kpi import Model
from onpace.deploy.silencing import Desk, NewAcknowledgement, NewSilence

__all__ = ["silence_router"]


class Ending(Model):
    """Which silence to end, and who does."""

    id: str
    by: Annotated[str, Field(pattern=r"\S")]


def silence_router(desk: Desk, clock: Callable[[], datetime]) -> APIRouter:
    """Lists, adds and ends silences, and acknowledges alerts."""
    router = APIRouter(tags=["silences"])

    @router.get("/api/silences")
    def silences(all: bool = False) -> JSONResponse:
        """Silences that hold or are yet to begin, those of the KPI files among them; `all`: what is over as well."""
        return _answer(lambda: [silence_row(one, clock()) for one in desk.silences(over=all)])

    @router.post("/api/silences", status_code=201)
    def add(wanted: NewSilence) -> JSONResponse:
        """Add a silence: direct channels hear nothing of the alerts that match. 422 where it can match none."""
        return _answer(lambda: silence_row(desk.add(wanted), clock()), 201)

    @router.post("/api/silences/end")
    def end(ending: Ending) -> JSONResponse:
        """End one now. 404 where there is none of that name, 422 where it is over or stands in a KPI file."""
        return _answer(lambda: silence_row(desk.end(ending.id, ending.by), clock()))

    @router.post("/api/acknowledgements", status_code=201)
    def acknowledge(wanted: NewAcknowledgement) -> JSONResponse:
        """Acknowledge what fires and matches: no more is said of it until it ends. 422 where nothing does."""
        return _answer(lambda: [acknowledgement_row(one) for one in desk.acknowledge(wanted)], 201)

    return router


def _answer(ask: Callable[[], Any], status: int = 200) -> JSONResponse:
    try:
        return JSONResponse(ask(), status)
    except StoreUnavailable as exc:
        return JSONResponse({"error": str(exc)}, 503)
    except UnknownName as exc:
        return JSONResponse({"error": str(exc)}, 404)
    except OnPaceError as exc:
        return JSONResponse({"error": str(exc)}, 422)
