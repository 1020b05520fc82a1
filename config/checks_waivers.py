"""What must hold for `waive`: the code exists and is waived once."""

from __future__ import annotations

from collections.abc import Iterator

from onpace.config.declarations import Declarations
from onpace.config.errors import did_you_mean
from onpace.config.kpi import Waiver
from onpace.config.lint.codes import CODES, UNWAIVABLE
from onpace.config.reports import Report
from onpace.config.yaml_lines import Place

__all__ = ["check_waivers", "waivers_of"]


def check_waivers(found: Declarations, report: Report) -> None:
    """Report waivers of codes that do not exist, that cannot be waived, or that are waived twice in one place."""
    seen: dict[tuple[str, str, str], Place] = {}
    for waiver, place, subject in waivers_of(found):
        named = f"{subject}: waive" if subject else "waive"
        where = place.at("code")
        if waiver.code in UNWAIVABLE:
            report.add(where, f"{named}: {waiver.code} cannot be waived: remove the waiver that it is about")
        elif waiver.code not in CODES:
            hint = did_you_mean(waiver.code, CODES) or " (docs/lint.md lists all codes)"
            report.add(where, f"{named}: unknown code '{waiver.code}'{hint}")
        first = seen.setdefault((place.document.path, subject, waiver.code), place)
        if first is not place:
            report.add(where, f"{named}: {waiver.code} is waived twice: also on line {first.line}")


def waivers_of(found: Declarations) -> Iterator[tuple[Waiver, Place, str]]:
    """Every waiver with its place and the subject it is for: `kpi 'revenue'`, `objective 'grow'` or '' (its file)."""
    for kind, section in (("kpi", found.kpis), ("objective", found.objectives)):
        for name, declared in section.items():
            for index, waiver in enumerate(declared.model.waive if declared.model else ()):
                yield waiver, declared.place.at("waive", index), f"{kind} '{name}'"
    for whole_file in found.waivers:
        if whole_file.model:
            yield whole_file.model, whole_file.place, ""
