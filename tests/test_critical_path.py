"""Critical paths: equal to trying every chain, and what is said about task lists that have none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from stacks import Up, onpace, output, rows, until

from onpace.config.errors import ConfigError
from onpace.config.kpi import EventType
from onpace.config.templates import library
from onpace.ingest.critical_path import Task, critical_path, project_events, read_project

BRIDGE = """project: bridge
tasks:
  - {id: design, days: 5, planned_value: 100, earned_value: 100, actual_cost: 90}
  - {id: permit, days: 12}
  - {id: build, days: 10.5, after: [design, permit]}
  - {id: paint, days: 3, after: build}
  - {id: web, days: 20, after: [design]}
"""
TABLE = "id,days,after\ndesign,5,\npermit,12,\nbuild,10.5,design permit\npaint,3,build\nweb,20,design\n"


def task(id: str, days: float, *after: str) -> Task:
    """A task."""
    return Task(id, days, after, {}, 1)


def test_the_longest_chain_decides(tmp_path: Path) -> None:
    """12 + 10.5 + 3 days by the permit; 18.5 by the design, 25 by the website."""
    (tmp_path / "t.yaml").write_text(BRIDGE)
    (tmp_path / "t.csv").write_text(TABLE)
    for name in ("t.yaml", "t.csv"):
        found = critical_path(read_project(tmp_path / name).tasks)
        assert (found.days, found.tasks) == (25.5, ("permit", "build", "paint"))


@st.composite
def plans(draw: st.DrawFn) -> list[Task]:
    """Tasks that depend on earlier ones only, in any order in the list."""
    count = draw(st.integers(1, 7))
    found = []
    for number in range(count):
        after = draw(st.sets(st.integers(0, number - 1))) if number else set()
        found.append(task(f"t{number}", draw(st.integers(0, 9)), *(f"t{other}" for other in sorted(after))))
    return draw(st.permutations(found))


@given(plans())
def test_no_chain_is_longer(tasks: list[Task]) -> None:
    """As found by following every dependency back."""
    by_id = {one.id: one for one in tasks}

    def longest(one: Task) -> float:
        return one.days + max((longest(by_id[before]) for before in one.after), default=0)

    found = critical_path(tasks)
    assert found.days == max(longest(one) for one in tasks)
    assert found.days == sum(by_id[name].days for name in found.tasks)
    assert all(before in by_id[name].after for before, name in zip(found.tasks, found.tasks[1:], strict=False))


def test_the_events_are_those_of_the_library(tmp_path: Path) -> None:
    """The schedule, then every task whose values are known; task ids are unique over projects."""
    (tmp_path / "t.yaml").write_text(BRIDGE)
    events = list(project_events("bridge", read_project(tmp_path / "t.yaml").tasks))
    assert events == [
        (
            "project.scheduled",
            {
                "project_id": "bridge",
                "critical_path_days": 25.5,
                "critical_path": ["permit", "build", "paint"],
                "tasks": 5,
            },
        ),
        (
            "task.updated",
            {
                "project_id": "bridge",
                "task_id": "bridge/design",
                "planned_value": 100.0,
                "earned_value": 100.0,
                "actual_cost": 90.0,
            },
        ),
    ]
    for name, data in events:
        declared = EventType.model_validate({"name": name, **library().events[name]})
        assert Draft202012Validator(declared.json_schema).is_valid(data)
        assert set(data) <= set(declared.properties)


WRONG = {
    "a circle": (
        "tasks:\n - {id: a, days: 1}\n - {id: b, days: 1, after: [d, a]}\n - {id: c, days: 1, after: b}\n"
        " - {id: d, days: 1, after: c}\n",
        ["3: tasks wait for each other: b -> c -> d -> b"],
    ),
    "itself": ("tasks:\n - {id: a, days: 1, after: a}\n", ["2: tasks wait for each other: a -> a"]),
    "unknown": (
        "tasks:\n - {id: design, days: 1}\n - {id: b, days: 1, after: desing}\n",
        ["3: task 'b': after: unknown task 'desing' (did you mean 'design'?)"],
    ),
    "negative": ("tasks:\n - {id: a, days: -1}\n", ["2: task 'a': days: '-1' must be a number of 0 or more"]),
    "no number": ("tasks:\n - {id: a, days: soon}\n", ["2: task 'a': days: 'soon' must be a number of 0 or more"]),
    "no days": ("tasks:\n - {id: a}\n", ["2: task 'a': 'days' is missing: how many days it takes, as in days: 5"]),
    "no id": ("tasks:\n - {days: 1}\n", ["2: task: 'id' is missing"]),
    "twice": ("tasks:\n - {id: a, days: 1}\n - {id: a, days: 2}\n", ["3: task 'a': given twice: also on line 2"]),
    "another key": (
        "tasks:\n - {id: a, days: 1, aftr: b}\n",
        ["2: task 'a': unknown key 'aftr' (did you mean 'after'?)"],
    ),
    "not a list": ("tasks: soon\n", ["1: 'tasks' is missing: write tasks: [{id: design, days: 5}]"]),
    "no tasks": ("tasks: []\n", ["0: no tasks: write tasks: [{id: design, days: 5}], or CSV of id,days,after"]),
    "no mapping": ("tasks: [design]\n", ["1: a task must be a mapping, as in {id: design, days: 5}"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_task_list_is_reported_with_its_line(name: str, tmp_path: Path) -> None:
    """And nothing is computed."""
    text, problems = WRONG[name]
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_project(tmp_path / "t.yaml")
    assert [f"{problem.line}: {problem.message}" for problem in caught.value.problems] == problems


def test_a_wrong_table_is_reported_with_its_line(tmp_path: Path) -> None:
    """As for YAML; a list of dependencies with commas needs quotes."""
    (tmp_path / "t.csv").write_text('id,days,after\na,1,\nb,2,"a,a"\nc,x,a\nd,1,a,b\n')
    with pytest.raises(ConfigError) as caught:
        read_project(tmp_path / "t.csv")
    assert [f"{problem.line}: {problem.message}" for problem in caught.value.problems] == [
        "4: task 'c': days: 'x' must be a number of 0 or more",
        "5: more values than columns: put quotes around lists",
    ]


def test_a_dry_run_prints_events_that_can_be_replayed(tmp_path: Path) -> None:
    """One JSON object a line."""
    (tmp_path / "t.yaml").write_text(BRIDGE)
    said = output("emit-project", "t.yaml", "--dry-run", "--time", "2026-10-01T12:00:00+00:00", cwd=tmp_path)
    first, second = [json.loads(line) for line in said.splitlines()]
    assert (first["type"], first["subject"], first["time"]) == (
        "project.scheduled",
        "bridge",
        "2026-10-01T12:00:00+00:00",
    )
    assert second["data"]["task_id"] == "bridge/design"


MISTAKES = {
    "no file": (["none.yaml"], "none.yaml: no such file: give a .yaml or .csv file of tasks\n"),
    "no name": (
        ["t.csv"],
        "error: t.csv does not name the project: give --project NAME, or 'project: NAME' in the file\n",
    ),
    "no zone": (["t.yaml", "--time", "2026-10-01"], "error: --time '2026-10-01': write 2026-10-01T12:00:00Z\n"),
    "no event": (["t.yaml", "--kafka", "127.0.0.1:1"], "error: no KPI file declares the event project.scheduled"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, tmp_path: Path) -> None:
    """On standard error, with exit code 1."""
    (tmp_path / "t.yaml").write_text(BRIDGE)
    (tmp_path / "t.csv").write_text(TABLE)
    arguments, message = MISTAKES[name]
    done = onpace("emit-project", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.e2e
def test_a_plan_reaches_the_kpis(tmp_path: Path) -> None:
    """Sent to a running stack; sent again, the last one counts."""
    uses = [f"  - {{use: library/projects.{name}, name: {name}}}" for name in ("critical_path_length", "cpi")]
    (tmp_path / "kpis.yaml").write_text("\n".join(["version: 1", "kpis:", *uses, ""]))
    (tmp_path / "old.yaml").write_text(BRIDGE.replace("days: 12", "days: 30"))
    (tmp_path / "new.yaml").write_text(BRIDGE)
    up = Up(tmp_path / "d", "--kpis", tmp_path / "kpis.yaml")
    try:
        up.until_ready()
        for name in ("old", "new"):
            said = output("emit-project", f"{name}.yaml", "--data", "d", cwd=tmp_path)
        assert said == "bridge: 25.5 days: permit -> build -> paint; 2 events sent\n"

        def values(kpi: str) -> list[float]:
            return [row["value"] for row in rows("query", kpi, "--data", "d", "--grain", "year", cwd=tmp_path)]

        until(lambda: values("critical_path_length") == [25.5], "the new plan")
        assert values("cpi") == [pytest.approx(100 / 90)]
    finally:
        assert up.stop() == 0
