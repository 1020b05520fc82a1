"""`onpace scorecard --report NAME`: a scheduled report tried out at once, printed and, if asked for, sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError, UnknownName, did_you_mean
from onpace.deploy.stores import now, open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onpace.alerts.notifications import Notification
    from onpace.config.settings import Settings

__all__ = ["print_report"]


def print_report(settings: Settings, catalog: Catalog, name: str, *, send: bool, form: str) -> None:
    """Print what the report would say now: `table` as text, `markdown`, or `json`. Raises OnPaceError.

    What is sent this way is no report in the timetable: that goes on as before.
    """
    if name not in catalog.reports:
        listed = did_you_mean(name, catalog.reports) or f": there are {', '.join(catalog.reports) or 'none'}"
        raise UnknownName(f"unknown report '{name}'{listed}")
    plan = catalog.reports[name]
    with open_store(settings, catalog) as store:
        from prometheus_client import CollectorRegistry

        from onpace.alerts.reporter import report_notifications
        from onpace.deploy.wiring import AlertPart

        alerts = AlertPart(settings, catalog, store, CollectorRegistry())
        text = alerts.report(plan, alerts.preview())
    sent_at = now()
    messages = report_notifications(plan, text, sent_at, sent_at)
    match form:
        case "json":
            print(json.dumps([json.loads(one.to_json()) for one in messages], indent=1, ensure_ascii=False))
        case "markdown":
            print(text.markdown, end="")
        case _:
            print(text.title, text.text, sep="\n\n", end="")
    if send:
        _send(settings, catalog, messages)


def _send(settings: Settings, catalog: Catalog, messages: Sequence[Notification]) -> None:
    """At once, each channel once; says of each what became of it. Raises OnPaceError where one did not take it."""
    from onpace.alerts.apprise_sender import check_apprise
    from onpace.alerts.delivery import DeliveryFailed
    from onpace.alerts.senders import senders_for

    channels = [catalog.channels[one.channel] for one in messages]
    check_apprise(channels)
    senders = senders_for(channels, private_webhooks=settings.engine.private_webhooks)
    failed = []
    for one in messages:
        try:
            senders[one.channel].send([one], now())
            typer.echo(f"sent to {one.channel}", err=True)
        except DeliveryFailed as exc:
            failed.append(f"{one.channel}: {exc}")
    if failed:
        raise OnPaceError(f"not sent to {'; '.join(failed)}")
