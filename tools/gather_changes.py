"""Gather the fragments of ``changes/`` into ``CHANGELOG.md`` under a version, and remove them.

    python tools/gather_changes.py 0.1.0 --date 2026-11-24            (shows what would be written)
    python tools/gather_changes.py 0.1.0 --date 2026-11-24 --write

A fragment is ``<topic>.<added|changed|fixed|removed>.md`` and holds a sentence or two for users.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KINDS = ("added", "changed", "fixed", "removed")
HEAD = "# Changes\n"


def fragments(folder: Path) -> dict[str, list[Path]]:
    """Return the fragments by kind, each kind sorted by topic.

    Raises:
        SystemExit: a file is named otherwise, or empty.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.iterdir()):
        parts = path.name.split(".")
        if len(parts) != 3 or parts[1] not in KINDS or parts[2] != "md":
            raise SystemExit(f"{path.name}: expected a name such as topic.{KINDS[0]}.md; kinds are {', '.join(KINDS)}")
        if not path.read_text("utf-8").strip():
            raise SystemExit(f"{path.name}: is empty; expected a sentence for users")
        found[parts[1]].append(path)
    return found


def section(version: str, date: datetime.date, found: dict[str, list[Path]]) -> str:
    """Return the text of one version: a list for each kind that has fragments."""
    lines = [f"## {version} ({date.isoformat()})"]
    for kind, paths in found.items():
        if paths:
            lines += ["", f"### {kind.capitalize()}", ""]
            lines += [f"- {' '.join(path.read_text('utf-8').split())}" for path in paths]
    return "\n".join(lines) + "\n"


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Show or write the section, newest version first; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--date", type=datetime.date.fromisoformat, required=True, help="day of the release")
    parser.add_argument("--write", action="store_true", help="write CHANGELOG.md and remove the fragments")
    chosen = parser.parse_args(arguments)
    found = fragments(root / "changes")
    paths = [path for group in found.values() for path in group]
    if not paths:
        raise SystemExit("changes/: has no fragments; nothing to gather")
    text = section(chosen.version, chosen.date, found)
    if not chosen.write:
        print(text, end="")
        return 0
    page = root / "CHANGELOG.md"
    before = page.read_text("utf-8").removeprefix(HEAD) if page.is_file() else ""
    page.write_text(f"{HEAD}\n{text}{before}", "utf-8")
    for path in paths:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
