"""Numbered migrations: SQL files, each applied once and recorded."""

from __future__ import annotations

import re
from importlib import resources

from onpace.processors.clickhouse import ClickHouse

__all__ = ["migrate", "migration_files"]

_RECORD = """CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, applied_at DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY version"""


def migration_files() -> list[tuple[int, str, list[str]]]:
    """Number, file name and statements of every migration, in order. Statements end with `;` at a line's end."""
    folder = resources.files("onpace.processors.migrations")
    found = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", file.name):
            text = re.sub(r"--[^\n]*", "", file.read_text())
            found.append(
                (int(match[1]), file.name, [part.strip() for part in re.split(r";\s*\n", text + "\n") if part.strip()])
            )
    return found


def migrate(store: ClickHouse) -> list[str]:
    """Apply what is missing and return the names applied. Safe to repeat, and to repeat after a crash in the middle:
    every statement is `IF NOT EXISTS`, or inserts rows that replace themselves."""
    store.command(_RECORD)
    done = {version for (version,) in store.query("SELECT DISTINCT version FROM schema_migrations")}
    applied = []
    for version, name, statements in migration_files():
        if version in done:
            continue
        for statement in statements:
            store.command(statement)
        store.insert("schema_migrations", ["version", "name"], [(version, name)])
        applied.append(name)
    return applied
