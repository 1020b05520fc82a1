"""Takes the alerts of one rule through one window: those that may be bad, and those that already were. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onpace.alerts.columns import Columns
from onpace.alerts.corrections import changed_in, corrected, remembering, rewound
from onpace.alerts.evaluation import Transition
from onpace.alerts.reading import SeriesKey
from onpace.alerts.rules import Verdict
from onpace.alerts.states import GONE, Alert
from onpace.alerts.status import ROUNDING, format_value
from onpace.alerts.telling import gap_of
from onpace.alerts.window_columns import WindowColumns
from onpace.alerts.window_plans import Plan
from onpace.config.calendar import window_end

if TYPE_CHECKING:
    from datetime import timedelta

    from numpy.typing import NDArray

__all__ = ["Advance", "judge", "judge_again"]


class Advance(Protocol):
    """Takes an alert one step on, and notes the transition."""

    def __call__(self, alert: Alert, verdict: Verdict, *, hold: timedelta, at: datetime, keep: timedelta) -> Alert: ...


def judge(plan: Plan, start: datetime, own: Columns, windows: WindowColumns, advance: Advance) -> None:
    """Step every alert of the rule through a window that was not seen yet. What is quiet and stays so costs nothing."""
    if windows.values(start) is None:
        return
    end = window_end(plan.rule.grain, start, plan.calendar)
    suspects = np.flatnonzero(windows.may_breach(start)).tolist()
    active = _numbers(own, (key for key, alert in plan.alerts.items() if alert.active))
    for number in sorted({*suspects, *active}):
        key = own.keys[number]
        before = plan.alerts[key]
        verdict = windows.verdict(number, start, firing=before.state == "firing")
        after = advance(before, verdict, hold=plan.rule.hold, at=end, keep=plan.rule.keep)
        if after is not before:
            plan.alerts[key] = _with_gap(remembering(after, before, end), verdict, windows)
            plan.touched.add(key)


def judge_again(plan: Plan, start: datetime, own: Columns, windows: WindowColumns) -> list[Transition]:
    """Step alerts through the newest window anew, where its value or volume is not what it was."""
    if windows.values(start) is None:
        return []
    end = window_end(plan.rule.grain, start, plan.calendar)
    concerned = _numbers(own, (key for key, one in plan.alerts.items() if one.active or changed_in(one, end)))
    suspects = {*np.flatnonzero(windows.may_breach(start)).tolist(), *concerned}
    found: list[Transition] = []
    for number in sorted(suspects & _changed(plan, start, own, windows)):
        key = own.keys[number]
        before = plan.alerts[key]
        verdict = windows.verdict(number, start, firing=rewound(before, end).state == "firing")
        verdict = replace(verdict, reason=_reason(plan, before, number, verdict))
        at = _back(before) or end
        after = _as_it_is(plan, before, verdict, at)
        if after is not before:
            plan.alerts[key] = after = _with_gap(after, verdict, windows)
            plan.touched.add(key)
        if after.state != before.state:
            found.append(Transition(after, before.state, at, verdict.inputs))
    return found


def _back(before: Alert) -> datetime | None:
    """Of a rule that left the KPI files and came back: when it left. It cannot fire again before that."""
    return before.resolved_at if before.reason == GONE else None


def _as_it_is(plan: Plan, before: Alert, verdict: Verdict, end: datetime) -> Alert:
    after = corrected(before, verdict.breached, end=end, hold=plan.rule.hold, keep=plan.rule.keep)
    another = before.active and verdict.breached is not None and not _same(before.value, verdict.value)
    if after is before and not another:
        return before
    return replace(after, value=verdict.value, reason=verdict.reason)


def _reason(plan: Plan, before: Alert, number: int, verdict: Verdict) -> str:
    """`corrected by late events, was 3: 12 is within bounds`; what a rule that came back finds is no correction."""
    if before.reason == GONE:
        return verdict.reason
    values = plan.before.values if plan.before else None
    if values is None:  # after a restart
        was = before.value if before.active else None
    else:
        was = float(values[number]) if number < len(values) and not np.isnan(values[number]) else None
    known = f", was {format_value(was, plan.unit)}" if was is not None and not _same(was, verdict.value) else ""
    return f"corrected by late events{known}: {verdict.reason}"


def _same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else math.isclose(one, other, rel_tol=ROUNDING)


def _changed(plan: Plan, start: datetime, own: Columns, windows: WindowColumns) -> set[int]:
    """The series whose value or volume is another one than when they were judged, as far as that is known."""
    before, values, volumes = plan.before, windows.values(start), windows.volumes(start)
    found = _differs(own, values, before.values if before else None)
    if volumes is not None:
        found |= _differs(own, volumes, before.volumes if before else None)
    return set(np.flatnonzero(found).tolist())


def _differs(own: Columns, values: NDArray[np.float64] | None, before: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    if values is None or before is None:
        return np.ones(len(own.keys), dtype=np.bool_)
    known = own.padded(before)
    # sums of floats may differ by their last digits from one read to the next
    found: NDArray[np.bool_] = ~np.isclose(values, known, rtol=ROUNDING, atol=0.0, equal_nan=True)
    found[len(before) :] = True  # series that were not known
    return found


def _numbers(own: Columns, keys: Iterable[SeriesKey]) -> list[int]:
    return [number for key in keys if (number := own.number(key)) is not None]


def _with_gap(alert: Alert, verdict: Verdict, windows: WindowColumns) -> Alert:
    if verdict.breached is None:
        return alert
    return replace(alert, gap=gap_of(verdict.inputs, accumulates=windows.accumulates) if alert.active else None)
