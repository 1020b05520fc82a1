"""All checks in one: is each of these a good KPI?"""

from __future__ import annotations

from onpace.config.lint.attainable import check_attainable
from onpace.config.lint.findings import Finding, Judged
from onpace.config.lint.gaming import check_gaming
from onpace.config.lint.measurable import check_measurable
from onpace.config.lint.portfolio import check_portfolio
from onpace.config.lint.ratios import check_ratios
from onpace.config.lint.relevant import check_relevant
from onpace.config.lint.scope import Scope
from onpace.config.lint.segments import check_segments
from onpace.config.lint.specific import check_specific
from onpace.config.lint.timely import check_timely
from onpace.config.lint.waiving import apply_waivers

__all__ = ["lint"]

CHECKS = (
    check_specific,
    check_measurable,
    check_ratios,
    check_attainable,
    check_segments,
    check_relevant,
    check_timely,
    check_portfolio,
    check_gaming,
)


def lint(scope: Scope) -> list[Finding]:
    """Every finding, waived or not, by file and line. Pure: the same files, day and evidence give the same."""
    verdicts = [verdict for check in CHECKS for verdict in check(scope)]
    judged = [verdict for verdict in verdicts if isinstance(verdict, Judged)]
    findings = [verdict for verdict in verdicts if isinstance(verdict, Finding)]
    applied = apply_waivers(scope.found, findings, judged)
    return sorted(applied, key=lambda one: (one.place.document.path, one.place.line, one.code))
