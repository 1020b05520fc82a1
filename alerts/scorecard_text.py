"""A scorecard as text: a table for terminals, Markdown for reports, JSON for everything else. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onpace.alerts.guardrails import guardrail_words
from onpace.alerts.notifications import series_words
from onpace.alerts.objectives import KeyResultState, ObjectiveState
from onpace.alerts.scorecard import KpiLine, Scorecard, Section, Trend
from onpace.alerts.status import KpiStatus, format_value
from onpace.alerts.status_page import COLOURS
from onpace.config.kpi_entities import Kpi

__all__ = [
    "escaped",
    "objective_title",
    "scorecard_document",
    "scorecard_markdown",
    "scorecard_table",
    "section_lines",
    "shown_aim",
    "shown_percent",
    "shown_trend",
    "shown_value",
    "status_words",
]

NOTHING = "–"
TITLES = {
    "financial": "Financial",
    "customer": "Customer",
    "process": "Internal process",
    "growth": "Learning and growth",
    "other": "Other",
}
KPI_COLUMNS = ("KPI", "Value", "Target", "Attainment", "Status", "Trend", "Period")
RESULT_COLUMNS = ("Key result", "From", "Now", "Target", "Progress")
NUMBERS = ("Value", "Target", "Attainment", "Trend", "From", "Now", "Progress")


def scorecard_table(card: Scorecard) -> Group:
    """For a terminal: a table per perspective, objectives first with their key results beneath them."""
    parts: list[Table | Text] = [Text(_heading(card), style="bold")]
    for section in card.sections:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left", title_style="bold")
        table.title = f"\n{TITLES[section.perspective]}"
        for name in KPI_COLUMNS:
            header = "" if name == "KPI" else "Attained" if name == "Attainment" else name
            table.add_column(header, justify="right" if name in NUMBERS else "left", no_wrap=name == "KPI")
        for state in section.objectives:
            cells = [f"◎ {objective_title(state)}", "", "", shown_percent(state.progress)]
            _add_row(table, cells, state.reason.replace(":", ",", 1), str(state.period))
            for result in state.key_results:
                name, begin, now, aim, progress = _result_cells(result)
                way = aim if begin == NOTHING else f"{begin} → {aim}"
                _add_row(table, [f"    {name}", now, way, progress], result.status.status, "")
        for line in section.kpis:
            name, value, aim, attained, _, trend, period = _kpi_cells(line)
            _add_row(table, [name, value, aim, attained], status_words(line.word, line.status), period, trend)
        parts.append(table)
    return Group(*parts)


def _add_row(table: Table, cells: Sequence[str], status: str, period: str, trend: str = "") -> None:
    words = status.replace("_", " ")
    colour = COLOURS.get(status.partition(",")[0].replace(" ", "_"), "dim")
    table.add_row(*(Text(cell) for cell in cells), Text(words, style=colour), Text(trend), Text(period))


def scorecard_markdown(card: Scorecard) -> str:
    """For a report. The same scorecard gives the same text."""
    return "\n".join([f"# {_heading(card)}", *section_lines(card)]) + "\n"


def section_lines(card: Scorecard) -> Iterator[str]:
    """The lines of its sections in Markdown, without the heading."""
    for section in card.sections:
        yield from ("", f"## {TITLES[section.perspective]}")
        for state in section.objectives:
            yield from (
                "",
                f"**{escaped(objective_title(state))}** ({_about(state)}): "
                f"{shown_percent(state.progress)}, {state.reason}",
            )
            if state.key_results:
                yield from ("", *_rows(RESULT_COLUMNS, [_result_cells(result) for result in state.key_results]))
        if section.kpis:
            yield from ("", *_rows(KPI_COLUMNS, [_kpi_cells(line) for line in section.kpis]))


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('--:' if name in NUMBERS else '---' for name in columns)}|"
    for row in rows:
        yield f"| {' | '.join(map(escaped, row))} |"


def escaped(text: str) -> str:
    """Text that Markdown takes as it is, also within a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _heading(card: Scorecard) -> str:
    whose = [name for name in (card.selection.team, card.selection.owner) if name]
    about = f" of {', '.join(whose)}" if whose else ""
    return f"Scorecard {card.selection.period}{about}, as of {card.selection.as_of:%Y-%m-%d %H:%M} UTC"


def objective_title(state: ObjectiveState) -> str:
    """The objective's title, or its name."""
    return state.objective.title or state.objective.name


def _about(state: ObjectiveState) -> str:
    parts = [state.objective.kind, state.objective.team, state.objective.owner, str(state.period)]
    return ", ".join(escaped(part) for part in parts if part)


def status_words(word: str, status: KpiStatus | None) -> str:
    """The status, whether it is stale, and what is said of guardrails."""
    parts = [
        word.replace("_", " "),
        "stale" if status and status.stale else "",
        guardrail_words(status) if status else "",
    ]
    return ", ".join(part for part in parts if part)


def _name(kpi: Kpi, series: str = "") -> str:
    unit = f" [{kpi.unit}]" if kpi.unit and kpi.unit != "ratio" else ""
    return f"{kpi.title or kpi.name}{f', {series}' if series else ''}{unit}"


def _result_cells(result: KeyResultState) -> tuple[str, str, str, str, str]:
    kpi, status = result.measure.kpi, result.status
    name = _name(kpi, series_words(result.measure.series))
    start = NOTHING if status.baseline is None else shown_value(status.baseline, kpi)
    return name, start, shown_value(status.actual, kpi), shown_aim(status, kpi), shown_percent(result.progress)


def _kpi_cells(line: KpiLine) -> tuple[str, str, str, str, str, str, str]:
    kpi, status = line.kpi, line.status
    name = _name(kpi, series_words(status.series) if status else "")
    aim = shown_aim(status, kpi) if status else NOTHING
    attained = shown_percent(status.attainment) if status else NOTHING
    trend = shown_trend(line.trend, kpi)
    return name, shown_value(line.value, kpi), aim, attained, status_words(line.word, status), trend, line.period


def shown_aim(status: KpiStatus, kpi: Kpi) -> str:
    """The target in the KPI's unit; a range as `20 to 40`."""
    if status.target_value is not None or status.target_min is None or status.target_max is None:
        return shown_value(status.target_value, kpi)
    return f"{shown_value(status.target_min, kpi)} to {shown_value(status.target_max, kpi)}"


def shown_value(value: float | None, kpi: Kpi) -> str:
    """The value in the KPI's unit; a ratio as a percentage."""
    return format_value(value, kpi.unit)


def shown_percent(share: float | None) -> str:
    """A share as a whole percentage."""
    return NOTHING if share is None else f"{share * 100:.0f} %".replace("-0 %", "0 %")


def shown_trend(trend: Trend | None, kpi: Kpi) -> str:
    """`▲ +38.9 %`, and whether that is worse."""
    if trend is None or trend.change is None:
        return NOTHING
    arrow = "▲" if trend.change > 0 else "▼" if trend.change < 0 else "="
    sign = "+" if trend.change > 0 else ""
    if trend.relative:
        size = f"{sign}{trend.change * 100:.1f} %"
    elif kpi.unit == "ratio":
        size = f"{sign}{trend.change * 100:.1f} pts"
    else:
        size = f"{sign}{format_value(trend.change)}"
    return f"{arrow} {size}{' (worse)' if trend.better is False else ''}"


def scorecard_document(card: Scorecard) -> dict[str, Any]:
    """For other programs: all of it as JSON."""
    return {
        "period": str(card.selection.period),
        "as_of": card.selection.as_of.isoformat(),
        "owner": card.selection.owner,
        "team": card.selection.team,
        "perspectives": [_section(section) for section in card.sections],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "perspective": section.perspective,
        "objectives": [_objective(state) for state in section.objectives],
        "kpis": [_kpi(line) for line in section.kpis],
    }


def _objective(state: ObjectiveState) -> dict[str, Any]:
    about = state.objective
    return {
        "objective": about.name,
        "title": objective_title(state),
        "owner": about.owner,
        "team": about.team,
        "level": about.level,
        "kind": about.kind,
        "period": str(state.period),
        "progress": state.progress,
        "status": state.status,
        "final": state.final,
        "reason": state.reason,
        "key_results": [_key_result(result) for result in state.key_results],
    }


def _key_result(result: KeyResultState) -> dict[str, Any]:
    status = result.status
    return {
        "kpi": status.kpi,
        "title": result.measure.kpi.title or status.kpi,
        "series": dict(status.series),
        "period": status.period,
        "from": status.baseline,
        "value": status.actual,
        "target": status.target_value,
        "target_min": status.target_min,
        "target_max": status.target_max,
        "expected": status.expected,
        "progress": result.progress,
        "share": result.share,
        "weight": result.measure.weight,
        "status": status.status,
        "reason": status.reason,
    }


def _kpi(line: KpiLine) -> dict[str, Any]:
    kpi, status, trend = line.kpi, line.status, line.trend
    judged = ("target_value", "target_min", "target_max", "expected", "gap", "baseline", "attainment")
    found = {name.removesuffix("_value"): getattr(status, name) if status else None for name in judged}
    return {
        "kpi": kpi.name,
        "title": kpi.title or kpi.name,
        "unit": kpi.unit,
        "owner": kpi.owner,
        "team": kpi.team,
        "level": kpi.level,
        "role": kpi.role,
        "direction": kpi.direction,
        "series": dict(status.series) if status else {},
        "period": line.period,
        "value": line.value,
        **found,
        "status": line.word,
        "final": bool(status and status.final),
        "stale": bool(status and status.stale),
        "reason": status.reason if status else "no target",
        "guardrails": guardrail_words(status) if status else "",
        "trend": trend
        and {"period": trend.period, "value": trend.value, "change": trend.change, "relative": trend.relative}
        | {"better": trend.better},
    }
