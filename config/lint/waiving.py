"""Waivers applied to findings, and waivers that nothing needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from onpace.config.checks_waivers import waivers_of
from onpace.config.declarations import Declarations
from onpace.config.kpi import Waiver
from onpace.config.lint.codes import CODES
from onpace.config.lint.findings import Finding, Judged
from onpace.config.yaml_lines import Place

__all__ = ["apply_waivers"]


def apply_waivers(found: Declarations, findings: Iterable[Finding], judged: Iterable[Judged]) -> Iterator[Finding]:
    """The findings, those waived with their reason; then W801 for each waiver that waives nothing.

    A waiver of what needs data is only called not needed where there was enough data to judge.
    """
    waivers, decided = list(waivers_of(found)), list(judged)
    used: set[tuple[str, int]] = set()
    for finding in findings:
        for index, (waiver, place, subject) in enumerate(waivers):
            if waiver.code == finding.code and _covers(place, subject, finding):
                used.add((waiver.code, index))
                finding = replace(finding, waived=finding.waived or waiver.reason)  # noqa: PLW2901
        yield finding
    for index, (waiver, place, subject) in enumerate(waivers):
        could = not CODES[waiver.code].needs_data or any(
            one.code == waiver.code and _covers(place, subject, one) for one in decided
        )
        if (waiver.code, index) not in used and could:
            yield _not_needed(waiver, place, subject)


def _covers(place: Place, subject: str, about: Finding | Judged) -> bool:
    """A waiver of a file covers everything that is declared in it."""
    return about.subject == subject if subject else about.place.document.path == place.document.path


def _not_needed(waiver: Waiver, place: Place, subject: str) -> Finding:
    return Finding(
        "W801",
        CODES["W801"].severity,
        place,
        subject,
        f"the waiver of {waiver.code} ({CODES[waiver.code].title}) waives nothing: there is no such finding",
        "remove it, or it will hide the finding when it comes back",
    )
