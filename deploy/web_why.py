"""Why an alert fired and why it did not, for the status page and for other programs."""

from __future__ import annotations

from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from onpace.alerts.why_text import why_document, why_text
from onpace.config.calendar import Period
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, StoreUnavailable, UnknownName
from onpace.config.privacy import is_individual
from onpace.deploy.cli_options import instant
from onpace.deploy.wiring import AlertPart

__all__ = ["why_router"]


def why_router(alerts: AlertPart) -> APIRouter:
    """`GET /api/why?rule=…`."""
    router = APIRouter()

    @router.get("/api/why", tags=["status"])
    def why(
        rule: str,
        at: str | None = None,
        series: list[str] = Query(default=[]),  # noqa: B008 (how FastAPI is told of it)
        period: str | None = None,
        format: Literal["json", "text"] = "json",
    ) -> Response:
        """Why the rule's alerts fired, and why they did not, at `at` (by default now); `series` as dimension=value.

        What is individual is not told. 404 for an unknown rule, 422 for what it does not have, 503 while the store is
        away.
        """
        try:
            _check_shared(rule, alerts.catalog)
            chosen = dict(_pair(text) for text in series)
            moment = instant(at, _zone(rule, alerts.catalog)) if at else None
            found = alerts.explain(rule, moment, chosen, Period.parse(period) if period else None)
        except UnknownName as exc:
            return _error(exc, 404)
        except StoreUnavailable as exc:
            return _error(exc, 503)
        except (OnPaceError, ValueError) as exc:
            return _error(exc, 422)
        return PlainTextResponse(why_text(found)) if format == "text" else JSONResponse(why_document(found))

    return router


def _check_shared(rule: str, catalog: Catalog) -> None:
    known = catalog.rules.get(rule)
    if known and is_individual(catalog.kpi(known.kpi)):
        raise UnknownName(f"unknown rule '{rule}'")


def _zone(rule: str, catalog: Catalog) -> ZoneInfo:
    known = catalog.rules.get(rule)
    return catalog.kpi(known.kpi).zone if known else ZoneInfo("UTC")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OnPaceError(f"series '{text}': write dimension=value")
    return name.strip(), value


def _error(exc: Exception, status: int) -> JSONResponse:
    return JSONResponse({"error": str(exc)}, status)
