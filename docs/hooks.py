"""mkdocs hooks: pages outside docs/ become part of the site, and links to them are turned to where they lie there.

Benchmark results, the changelog and the guide for contributors have one source, which a reader of the repository finds
where it belongs; docs/X.md links to it as ../benchmarks/..., which holds in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"(\]\()\.\./(?=(?:benchmarks/|CONTRIBUTING\.md|CHANGELOG\.md))")
PROBES = re.compile(r"\]\(\.\./probes/README\.md")
MENTIONED = ("LOG.md", "*/*.md", "*/*.svg")


def on_files(files: Files, config: Any) -> Files:
    """Add benchmark results, their figures, CONTRIBUTING.md and CHANGELOG.md."""
    found = [path for pattern in MENTIONED for path in sorted((ROOT / "benchmarks").glob(pattern))]
    listed = [entry for entry in _paths(config["nav"]) if entry.startswith(("benchmarks/", "C"))]
    for path in [*found, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix != ".md" or name in listed:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn ../benchmarks/... of a page in docs/ to benchmarks/..., and the probes' README to their page."""
    if page.file.src_uri.startswith("benchmarks/"):
        return markdown
    return PROBES.sub("](probes.md", OUTSIDE.sub(r"\1", markdown))


def _paths(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [path for entry in entries for path in _paths(entry)]
