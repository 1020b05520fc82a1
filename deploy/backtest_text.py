"""A backtest's answer as text and as a document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from onpace.alerts.backtest import Alarm, Met, per_week, total_firing
from onpace.alerts.instants import goes_by_windows, lookback, step_of
from onpace.alerts.status import Labels
from onpace.config.durations import format_duration
from onpace.deploy.backtesting import Answer, known_from

__all__ = ["answer_document", "answer_lines"]


def answer_lines(answer: Answer) -> Iterator[str]:
    """For people; times are in the KPI's zone."""
    question, zone = answer.question, _zone(answer)
    yield f"{question.rule}: {_local(question.start, zone)} to {_local(question.end, zone)} ({zone.key})"
    yield f"  {_looked(answer)}"
    yield from (f"  {line}" for line in _limits(answer))
    yield ""
    for alarm in answer.before:
        yield f"  firing already since {_local(alarm.fired_at, zone)}, not counted: {_about(alarm)}"
    if answer.alarms:
        yield from _table(answer.alarms, zone)
    else:
        yield "  it would not have fired"
    yield ""
    yield f"  {_summary(answer)}"
    if answer.score:
        yield ""
        yield from (f"  {line}" for line in _scored(answer, zone))


def _zone(answer: Answer) -> ZoneInfo:
    return answer.catalog.kpi(answer.catalog.rules[answer.question.rule].kpi).zone


def _local(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def _looked(answer: Answer) -> str:
    rule = answer.catalog.rules[answer.question.rule]
    if goes_by_windows(rule):
        how = f"as each {getattr(rule, 'grain', 'window')} became complete"
    else:
        how = f"every {format_duration(answer.question.every or step_of(rule, answer.catalog))}"
    first = answer.archive.first_time
    since = f", the first of {_local(first, _zone(answer))}" if first else ""
    return f"looked {how}; {answer.archive.events:,} events of {', '.join(answer.catalog.events)} replayed{since}"


def _limits(answer: Answer) -> Iterator[str]:
    """What the answer does not hold for."""
    question, archive, zone = answer.question, answer.archive, _zone(answer)
    if question.punctual:
        yield "every event counts as having arrived when it happened: what came late is not late here"
    if archive.first_arrival and archive.first_arrival > question.start:
        hint = "" if question.punctual else " (--arrival event replays a history that was loaded later)"
        yield (
            f"the archive of these events begins with one that arrived at {_local(archive.first_arrival, zone)}: "
            f"before that nothing was known{hint}, and the rate a week is from then on"
        )
    if answer.edited:
        yield f"targets as in the files throughout: those of {', '.join(answer.edited)} differ from what was recorded"
    if answer.unusable:
        yield f"{answer.unusable:,} events are left out: the events of the KPI files no longer allow them"


def _about(alarm: Alarm) -> str:
    return ", ".join(part for part in (_series(alarm.series), alarm.period, alarm.reason) if part)


def _series(series: Labels) -> str:
    return ", ".join(f"{name}={'(null)' if value is None else value}" for name, value in series)


def _table(alarms: Sequence[Alarm], zone: ZoneInfo) -> Iterator[str]:
    head = ("fired", "told", "cleared", "series", "period", "reason")
    rows = [
        (
            _local(one.fired_at, zone),
            _local(one.told_at, zone),
            _local(one.cleared_at, zone) if one.cleared_at else "fires still",
            _series(one.series),
            one.period,
            one.reason,
        )
        for one in alarms
    ]
    kept = [at for at in range(len(head)) if at not in (3, 4) or any(row[at] for row in rows)]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in kept[:-1]]
    for row in (head, *rows):
        cells = [row[at].ljust(width) for at, width in zip(kept, widths, strict=False)]
        yield "  " + "  ".join([*cells, row[kept[-1]]]).rstrip()


def _summary(answer: Answer) -> str:
    question = answer.question
    count, since = len(answer.alarms), known_from(question, answer.archive)
    firing = total_firing([*answer.before, *answer.alarms], question.start, question.end)
    share = firing / (question.end - since)
    weekly = per_week(count, since, question.end)
    return f"{count} alarm{'' if count == 1 else 's'}, {weekly:.2g} a week; firing {_length(firing)} ({share:.1%})"


def _length(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes % 60} min" if minutes % 60 else ""]
    return " ".join(part for part in parts if part) or "0 min"


def _scored(answer: Answer, zone: ZoneInfo) -> Iterator[str]:
    found = answer.score
    if found is None:
        return
    rule = answer.catalog.rules[answer.question.rule]
    yield (
        f"incidents: {found.detected} of {len(found.incidents)} told of (recall {_share(found.recall)}), "
        f"{len(found.false_alarms)} of {found.alarms} alarms false (precision {_share(found.precision)}); "
        f"an alarm may come {_length(lookback(rule, answer.catalog))} after the end"
    )
    for one in found.incidents:
        yield f"  {_incident(one, zone)}"
    for alarm in found.false_alarms:
        yield f"  false alarm {_local(alarm.fired_at, zone)}  {_about(alarm)}"


def _incident(one: Met, zone: ZoneInfo) -> str:
    what = f"{_local(one.incident.start, zone)} to {_local(one.incident.end, zone)}"
    name = "  ".join(part for part in (one.incident.label, _series(tuple(one.incident.series.items()))) if part)
    told = "missed" if one.delay is None else f"told of after {_length(one.delay)}"
    return f"{what}  {told}{f'  {name}' if name else ''}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def answer_document(answer: Answer) -> dict[str, Any]:
    """For programs; times are in UTC, lengths in seconds."""
    question, rule = answer.question, answer.catalog.rules[answer.question.rule]
    firing = total_firing([*answer.before, *answer.alarms], question.start, question.end)
    every = None if goes_by_windows(rule) else (question.every or step_of(rule, answer.catalog)).total_seconds()
    return {
        "rule": question.rule,
        "kpi": rule.kpi,
        "start": _utc(question.start),
        "end": _utc(question.end),
        "every_seconds": every,
        "events": answer.archive.events,
        "unusable_events": answer.unusable,
        "first_arrival": _utc(answer.archive.first_arrival),
        "first_event": _utc(answer.archive.first_time),
        "targets_edited": list(answer.edited),
        "limits": list(_limits(answer)),
        "alarms": [_alarm_document(one) for one in answer.alarms],
        "firing_before": [_alarm_document(one) for one in answer.before],
        "alarms_per_week": per_week(len(answer.alarms), known_from(question, answer.archive), question.end),
        "firing_seconds": firing.total_seconds(),
        "incidents": _score_document(answer),
    }


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _alarm_document(one: Alarm) -> dict[str, Any]:
    return {
        "fired_at": _utc(one.fired_at),
        "told_at": _utc(one.told_at),
        "cleared_at": _utc(one.cleared_at),
        "series": dict(one.series),
        "period": one.period,
        "value": one.value,
        "reason": one.reason,
        "ended_by": one.ended_by,
    }


def _score_document(answer: Answer) -> dict[str, Any] | None:
    found = answer.score
    if found is None:
        return None
    return {
        "recall": found.recall,
        "precision": found.precision,
        "detected": [
            {
                "start": _utc(one.incident.start),
                "end": _utc(one.incident.end),
                "label": one.incident.label,
                "series": one.incident.series,
                "alarm_fired_at": _utc(one.alarm.fired_at) if one.alarm else None,
                "delay_seconds": None if one.delay is None else one.delay.total_seconds(),
            }
            for one in found.incidents
        ],
        "false_alarms": [_alarm_document(one) for one in found.false_alarms],
    }
