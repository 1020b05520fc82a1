"""What a message tells besides the number: which segments the gap comes from, and where to look further.

Read only for alerts that people are told about. A store that does not answer then makes a message without segments,
never one that is late or lost: it is stored and sent all the same, and tried again where the alert is told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from onpace.alerts.contributions import Breakdown, breakdown
from onpace.alerts.evaluation import Evaluation
from onpace.alerts.links import dashboard_of
from onpace.alerts.reading import Portions, SegmentReader, Span
from onpace.alerts.references import Reference, of_period, of_window, wrong_way
from onpace.alerts.segment_words import best_of, words
from onpace.alerts.states import Alert, AlertId
from onpace.config.additivity import adds_up, fraction_of, is_fraction
from onpace.config.catalog import Catalog
from onpace.config.errors import OnPaceError
from onpace.config.kpi import DerivedKpi, RatioKpi, SimpleKpi
from onpace.config.kpi_entities import Kpi
from onpace.config.privacy import for_owner
from onpace.config.rules import NoDataRule, WindowRule

__all__ = ["Evidence"]

log = structlog.get_logger(__name__)

SOON, LATEST = timedelta(minutes=5), timedelta(hours=1)
"""What was read is read again after `LATEST`, or after `SOON` once the alert's value has changed."""
READS = 20
"""After so many queries in one evaluation no more alerts are read for; in a flood they wait for the next one."""
AS_TOLD = 0.01
"""What is read must be the alert's value up to this share: late events, or a KPI that does not add up after all."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: float | None
    episode: tuple[str, datetime | None]
    """The alert's state, and when it fired."""
    at: datetime
    text: str


class Evidence:
    """What is told about alerts. `about` is called in one thread at a time."""

    def __init__(self, catalog: Catalog, reader: SegmentReader, dashboard_url: str | None = None) -> None:
        self._catalog = catalog
        self._reader = reader
        self._dashboard_url = dashboard_url
        self._kept: dict[AlertId, _Kept] = {}
        self._reads: tuple[datetime | None, int] = (None, 0)

    def about(self, alert: Alert, evaluation: Evaluation) -> Mapping[str, str]:
        """Annotations: `segments` and `dashboard`, as far as there is something to say. Never raises."""
        found: dict[str, str] = {}
        try:
            found["dashboard"] = dashboard_of(self._catalog, alert, evaluation, self._dashboard_url)
            found["segments"] = self._segments(alert, evaluation)
        except Exception:  # a mistake in here must not keep the message from anybody
            log.exception("no evidence for a message", rule=alert.rule, kpi=alert.kpi)
        return {name: text for name, text in found.items() if text}

    def _segments(self, alert: Alert, evaluation: Evaluation) -> str:
        now, episode = evaluation.now, (alert.state, alert.fired_at)
        kept = self._kept.get(alert.identity)
        if kept and kept.episode != episode:
            kept = None
        if kept and timedelta() <= now - kept.at < (LATEST if kept.value == alert.value else SOON):
            return kept.text
        since, count = self._reads
        if since == now and count >= READS:
            return kept.text if kept else ""
        try:
            text = self._read(alert, evaluation)
        except OnPaceError as exc:
            log.warning("no segments for a message", rule=alert.rule, kpi=alert.kpi, error=str(exc))
            self._reads = now, READS  # the others do not wait for it again
            return ""
        self._kept = {key: one for key, one in self._kept.items() if now - one.at < LATEST}
        self._kept[alert.identity] = _Kept(alert.value, episode, now, text)
        return text

    def _read(self, alert: Alert, evaluation: Evaluation) -> str:
        kpi, rule = self._catalog.kpis.get(alert.kpi), self._catalog.rules.get(alert.rule)
        if kpi is None or rule is None or isinstance(rule, NoDataRule) or alert.value is None:
            return ""
        given = dict(alert.series)
        dimensions = [name for name in self._catalog.dimensions(kpi) if name not in given]
        told = alert.state in ("firing", "missed")
        if not dimensions or not told or not (adds_up(self._catalog, kpi) or is_fraction(self._catalog, kpi)):
            return ""
        since, count = self._reads
        self._reads = evaluation.now, len(dimensions) + (count if since == evaluation.now else 0)
        reference = self._reference(kpi, alert, evaluation)
        if reference is None:
            return ""
        found = [one for name in dimensions if (one := self._breakdown(kpi, reference, name, given)) is not None]
        fitting = [one for one in found if wrong_way(rule, one.gap, kpi.direction) and _as_told(one, alert.value)]
        best = best_of(fitting)
        return words(best, unit=kpi.unit, divisor=self._divisor(kpi), against=reference.words) if best else ""

    def _reference(self, kpi: Kpi, alert: Alert, evaluation: Evaluation) -> Reference | None:
        first_event, rule = self._reader.first_event(kpi.name), self._catalog.rules[alert.rule]
        if first_event is None:
            return None
        if isinstance(rule, WindowRule):
            return of_window(rule, alert, kpi.calendar, first_event=first_event)
        status = evaluation.status_of(alert.kpi, alert.series, alert.period)
        if status is None or status.stale:
            return None
        return of_period(
            status,
            kpi.calendar,
            base_grain=self._catalog.base_grain(kpi),
            first_event=first_event,
            from_nothing=self._catalog.accumulates(kpi) or is_fraction(self._catalog, kpi),
        )

    def _breakdown(
        self, kpi: Kpi, reference: Reference, dimension: str, given: Mapping[str, str | None]
    ) -> Breakdown | None:
        spans = reference.spans()
        read: dict[Span, Portions] = dict(
            zip(spans, self._reader.segments(kpi.name, spans, dimension, given), strict=True)
        )
        past = [stretch.portions(read) for stretch in reference.past]
        ratio = is_fraction(self._catalog, kpi)
        return breakdown(dimension, read[reference.now], past, ratio=ratio, expected=reference.expected)

    def _divisor(self, kpi: Kpi) -> str:
        """What a ratio is divided by."""
        if isinstance(kpi, RatioKpi | DerivedKpi) and (fraction := fraction_of(self._catalog, kpi)):
            divisor = self._catalog.kpi(fraction.denominator)
            return (divisor.title or divisor.name).lower() if for_owner(kpi, divisor) else "cases"
        return "events" if isinstance(kpi, SimpleKpi) else "cases"


def _as_told(found: Breakdown, value: float) -> bool:
    return abs(found.now - value) <= AS_TOLD * max(abs(value), abs(found.gap))
