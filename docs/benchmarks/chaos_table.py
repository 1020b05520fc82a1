"""The table of docs/reliability.md, from the file that `ONPACE_CHAOS_REPORT` named: `python chaos_table.py FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def row(found: dict[str, Any]) -> str:
    """One scenario."""
    faults = ", ".join(f"{count} {name}" for name, count in found["faults"].items()) or "none"
    figures = (found["lines"], found["events"], found["duplicates"], found["malformed"])
    cells = [found["scenario"], *(f"{number:,}" for number in figures), faults]
    return f"| {' | '.join(cells)} | {found['values']:,} | {found['mismatches']} | {found['seconds']:.0f} |"


def main() -> None:
    """Print it, in the order of the scenarios' numbers; the last report of each counts."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    by_name = {found["scenario"]: found for found in map(json.loads, lines)}
    print(
        "| scenario | lines sent | events | duplicates | malformed | faults | values compared | mismatches | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    final = [name for name in by_name if ", stop " not in name]  # not those that a scenario reports on its way
    for name in sorted(final, key=lambda name: (int(name.split()[0]), name)):
        print(row(by_name[name]))


if __name__ == "__main__":
    main()
