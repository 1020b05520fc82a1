"""The answer to why an alert fired or did not, as text for people and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from onpace.alerts.notifications import series_words
from onpace.alerts.why import Answer, Asked, Entry, Explanation, Told, clock

__all__ = ["why_document", "why_text"]


def why_text(explanation: Explanation) -> str:
    """A line on the rule, then for each of its alerts the answer, what it was judged on, and its last transitions."""
    return "\n".join(_lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    asked = explanation.asked
    yield f"{asked.name}: {explanation.about}"
    yield f"At {clock(asked.at, asked.zone)} {asked.zone}{'' if asked.past else ' (now)'}:"
    for one in explanation.answers:
        yield ""
        yield f"{_name(one)}{one.words}"
        if one.looked_at:
            yield f"  judged on: {one.looked_at}"
        if one.telling:
            yield f"  {one.telling}"
        width = max((len(clock(entry.at, asked.zone)) for entry in one.timeline), default=0)
        for entry in one.timeline:
            yield from _entry(entry, asked, width)
    if explanation.more:
        yield ""
        yield f"and {explanation.more} more series: choose with --series dimension=value"
    if explanation.notes:
        yield ""
        yield from explanation.notes


def _name(one: Answer) -> str:
    series, period = one.place
    parts = [part for part in (series_words(series), period) if part]
    return f"{', '.join(parts)}: " if parts else ""


def _entry(entry: Entry, asked: Asked, width: int) -> Iterator[str]:
    revised = f" ({entry.revised})" if entry.revised else ""
    yield f"  {clock(entry.at, asked.zone):<{width}}  {entry.what:<9}  {entry.words}{revised}"
    for one in entry.told:
        yield f"  {'':{width}}  {'':9}  {_message(one, asked)}"


def _message(one: Told, asked: Asked) -> str:
    written = f"to {one.channel} at {clock(one.created_at, asked.zone)}"
    if one.outcome == "delivered" and one.settled_at:
        return f"told {written}, delivered at {clock(one.settled_at, asked.zone)}"
    return f"told {written}: {'refused by it' if one.outcome == 'rejected' else 'not delivered yet'}"


def why_document(explanation: Explanation) -> dict[str, Any]:
    """For other programs: all of it as JSON, times in UTC."""
    asked = explanation.asked
    return {
        "rule": asked.name,
        "about": explanation.about,
        "at": asked.at.isoformat(),
        "timezone": str(asked.zone),
        "held": asked.held,
        "alerts": [_answer(one) for one in explanation.answers],
        "more": explanation.more,
        "notes": list(explanation.notes),
    }


def _answer(one: Answer) -> dict[str, Any]:
    series, period = one.place
    return {
        "series": dict(series),
        "period": period,
        "state": one.stand.state,
        "since": _time(one.stand.active_since),
        "state_since": _time(one.stand.changed_at),
        "breached": one.breached,
        "why": one.words,
        "judged_on": one.looked_at,
        "inputs": dict(one.inputs),
        "told": one.telling,
        "timeline": [
            {
                "at": _time(entry.at),
                "what": entry.what,
                "why": entry.words,
                "value": entry.value,
                "revised": entry.revised,
                "told": [
                    {
                        "channel": told.channel,
                        "at": _time(told.created_at),
                        "outcome": told.outcome,
                        "settled_at": _time(told.settled_at),
                    }
                    for told in entry.told
                ],
            }
            for entry in one.timeline
        ],
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
