"""Writes dashboards/*.json, or with --check names those that are not what their sources say."""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # this file is run by its path

from dashboards.src.boards import BOARDS  # noqa: E402 - the line above must come first


def main() -> int:
    """Write or check; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check: bool = parser.parse_args().check
    wanted = {HERE / f"{board.uid}.json": board.render() for board in BOARDS}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    orphaned = sorted(set(HERE.glob("*.json")) - set(wanted))
    for path in stale:
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
        sys.stderr.write(f"dashboards/{path.name}: {'out of date; run `make generate`' if check else 'written'}\n")
    for path in orphaned:
        if not check:
            path.unlink()
        sys.stderr.write(f"dashboards/{path.name}: {'has no board; run `make generate`' if check else 'removed'}\n")
    return 1 if check and (stale or orphaned) else 0


if __name__ == "__main__":
    sys.exit(main())
