"""A project's tasks, their critical path, and the events that say so.

The critical path is the longest chain of tasks that depend on each other (Kelley and Walker, Critical-Path Planning and
Scheduling, 1959). Its length is the shortest time that the project can take.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx

from onpace.config.errors import ConfigError, Problem, did_you_mean
from onpace.config.yaml_lines import Document, Place, read_document

__all__ = ["CriticalPath", "Project", "Task", "critical_path", "project_events", "read_project"]

VALUES = ("planned_value", "earned_value", "actual_cost")
KEYS = ("id", "days", "after", *VALUES)


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `values` holds planned value, earned value and actual cost to date, as far as they are known."""

    id: str
    days: float
    after: tuple[str, ...]
    """Ids of the tasks that must be finished before it can start."""
    values: dict[str, float]
    line: int


@dataclass(frozen=True, slots=True)
class Project:
    """A list of tasks whose ids and dependencies hold."""

    name: str | None
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The chain of tasks that decides how long the project takes, in order, and its length."""

    tasks: tuple[str, ...]
    days: float


def read_project(path: Path) -> Project:
    """The tasks of a YAML or CSV file. Raises ConfigError with every problem, each at its line."""
    if not path.is_file():
        raise ConfigError([Problem(str(path), 0, "no such file: give a .yaml or .csv file of tasks")])
    problems: list[Problem] = []
    if path.suffix == ".csv":
        name, rows = None, list(_csv_rows(path, problems))
    else:
        name, rows = _yaml_rows(read_document(path), problems)
    tasks = [task for row, line in rows if (task := _task(row, line, path, problems))]
    if not rows and not problems:
        problems.append(
            Problem(str(path), 0, "no tasks: write tasks: [{id: design, days: 5}], or CSV of id,days,after")
        )
    problems.extend(_relations(tasks, {str(row.get("id")) for row, _ in rows}, str(path)))
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return Project(name, tuple(tasks))


def critical_path(tasks: Sequence[Task]) -> CriticalPath:
    """The longest chain, by days; of several that are equally long, one. Dependencies must hold (`read_project`)."""
    graph = networkx.DiGraph()
    days = {task.id: task.days for task in tasks}
    for task in tasks:
        graph.add_edge(("start",), task.id, days=0.0)
        graph.add_edge(task.id, ("end",), days=task.days)
        graph.add_edges_from((before, task.id, {"days": days[before]}) for before in task.after)
    path = networkx.dag_longest_path(graph, weight="days")
    on_path = tuple(name for name in path if name in days)
    return CriticalPath(on_path, math.fsum(days[name] for name in on_path))


def project_events(name: str, tasks: Sequence[Task]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event type, data): the schedule, then an update of each task whose values are known."""
    found = critical_path(tasks)
    yield (
        "project.scheduled",
        {
            "project_id": name,
            "critical_path_days": found.days,
            "critical_path": list(found.tasks),
            "tasks": len(tasks),
        },
    )
    for task in tasks:
        if task.values:
            yield "task.updated", {"project_id": name, "task_id": f"{name}/{task.id}", **task.values}


def _yaml_rows(document: Document, problems: list[Problem]) -> tuple[str | None, list[tuple[dict[str, Any], int]]]:
    problems.extend(document.problems)
    content, top = document.content, Place(document)
    if not isinstance(content, dict) or not isinstance(content.get("tasks"), list):
        if not problems:
            problems.append(Problem(document.path, 1, "'tasks' is missing: write tasks: [{id: design, days: 5}]"))
        return None, []
    for key in content.keys() - {"project", "tasks"}:
        problems.append(Problem(document.path, top.at(key).line, f"unknown key '{key}' (known are project, tasks)"))
    rows = []
    for index, row in enumerate(content["tasks"]):
        line = top.at("tasks", index).line
        if isinstance(row, dict):
            rows.append((row, line))
        else:
            problems.append(Problem(document.path, line, "a task must be a mapping, as in {id: design, days: 5}"))
    name = content.get("project")
    return (None if name is None else str(name)), rows


def _csv_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[dict[str, Any], int]]:
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), restkey="", strict=True)
        for row in reader:
            line = reader.line_num
            if "" in row:
                problems.append(Problem(str(path), line, "more values than columns: put quotes around lists"))
            given = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
            yield {**given, "after": re.split(r"[;,\s]+", given["after"]) if "after" in given else []}, line
    except UnicodeDecodeError:
        problems.append(Problem(str(path), 0, "the file is not UTF-8 text"))
    except csv.Error as error:
        problems.append(Problem(str(path), 0, f"not valid CSV: {error}"))


def _task(row: dict[str, Any], line: int, path: Path, problems: list[Problem]) -> Task | None:
    before, known = len(problems), f" (known are {', '.join(KEYS)})"
    name = str(row["id"]) if row.get("id") not in (None, "") else ""
    subject = f"task '{name}'" if name else "task"

    def wrong(message: str) -> None:
        problems.append(Problem(str(path), line, f"{subject}: {message}"))

    if not name:
        wrong("'id' is missing")
    for key in row.keys() - set(KEYS):
        wrong(f"unknown key '{key}'{did_you_mean(str(key), KEYS) or known}")
    if "days" not in row:
        wrong("'days' is missing: how many days it takes, as in days: 5")
    numbers = {}
    for key in ("days", *VALUES):
        if key in row:
            number = _number(row[key])
            if number is None or number < 0:
                wrong(f"{key}: '{row[key]}' must be a number of 0 or more")
            else:
                numbers[key] = number
    after = row.get("after") or []
    names = [after] if isinstance(after, str) else after
    if not isinstance(names, list):
        wrong("after must be a list of task ids, as in after: [design]")
    if len(problems) > before:
        return None
    return Task(name, numbers.pop("days"), tuple(map(str, names)), numbers, line)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _relations(tasks: Sequence[Task], names: set[str], path: str) -> Iterator[Problem]:
    """Ids given twice, dependencies on tasks that are not there, and circles."""
    lines: dict[str, int] = {}
    for task in tasks:
        if task.id in lines:
            yield Problem(path, task.line, f"task '{task.id}': given twice: also on line {lines[task.id]}")
        lines.setdefault(task.id, task.line)
        for before in task.after:
            if before not in names:
                hint = did_you_mean(before, names)
                yield Problem(path, task.line, f"task '{task.id}': after: unknown task '{before}'{hint}")
    graph = networkx.DiGraph([(before, task.id) for task in tasks for before in task.after])
    try:
        circle = [before for before, _ in networkx.find_cycle(graph)]
    except networkx.NetworkXNoCycle:
        return
    first = circle.index(min(circle, key=lambda name: lines.get(name, 0)))
    circle = [*circle[first:], *circle[: first + 1]]
    yield Problem(path, lines.get(circle[0], 0), f"tasks wait for each other: {' -> '.join(circle)}")
