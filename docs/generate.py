"""Writes the generated documentation, or with --check lists the files that are out of date."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.cloud.endpoint_docs import endpoints_markdown
from exporter.metrics import metric_docs
from exporter.settings.settings_docs import configuration_markdown

ROOT = Path(__file__).resolve().parent.parent


def generated() -> Iterator[tuple[Path, Callable[[str], str]]]:
    """Yield each generated file, and the function from its current text ("" if none) to its new text."""
    yield ROOT / "docs/metrics.md", lambda _: metric_docs.markdown()
    yield ROOT / "docs/configuration.md", configuration_markdown
    yield ROOT / "docs/endpoints.md", lambda _: endpoints_markdown()


def main() -> int:
    """Write or check; return 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check: bool = parser.parse_args().check
    stale = []
    for path, make in generated():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = make(before)
        if after == before:
            continue
        stale.append(path.relative_to(ROOT))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after, encoding="utf-8")
    for name in stale:
        sys.stderr.write(f"{name}: {'out of date; run `make generate`' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
