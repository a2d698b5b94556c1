"""One offline HTML page: a template, inline style and script, data that is safe inside it, no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import StoreError
from posttrain_diag.store import write_atomic
from posttrain_diag.wording.text import clip, visible
from posttrain_diag.wording.vocabulary import FATES, SHARES

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MAX_BYTES = 5_000_000
PRINTED = 5000
"""Most characters of one text that a template prints; texts known to be long are clipped shorter before."""


def embed_json(value: object) -> str:
    """JSON that is safe inside <script>: no `<`, `>` or `&`, every hidden character spelled out.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(_visible_deep(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _visible_deep(value: object) -> object:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): _visible_deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible_deep(item) for item in value]
    return value


def code_spans(text: str) -> Markup:
    """The text with `spans in backticks` as code; everything else escaped."""
    from markupsafe import Markup

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return Markup.escape(visible(text))
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


@cache
def environment() -> Environment:
    """The environment of the templates; what they print is escaped, clipped, and has hidden characters spelled out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def printable(value: object) -> object:
        return clip(value, PRINTED) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        loader=PackageLoader("posttrain_reports"),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["markup"] = Markup
    made.filters["ticks"] = code_spans
    return made


@cache
def look() -> str:
    """A fingerprint of all templates, which tells the version of them that made a page."""
    made = environment()
    loader = made.loader
    assert loader is not None
    sources = [loader.get_source(made, name)[0] for name in sorted(loader.list_templates())]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:12]


def style_sheet() -> str:
    """The style sheet that every page has."""
    return environment().get_template("report.css").render(shares=SHARES, fates=FATES)


def render_page(template: str, scripts: Sequence[str], payload: object, context: Mapping[str, Any]) -> str:
    """Render the page of one template.

    Args:
        template: name of the template under templates/.
        scripts: names of the scripts after page.js and numbers.js; they share one scope.
        payload: what the scripts read.
        context: what the template prints.
    """
    from markupsafe import Markup

    made = environment()
    parts = [made.get_template(name).render() for name in ("page.js", "numbers.js", *scripts)]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return made.get_template(template).render(
        script=Markup(script),
        style=Markup(style_sheet()),
        script_sha=digest,
        look=look(),
        payload=Markup(embed_json(payload)),
        **context,
    )


def check_whole(name: str, found: Mapping[str, Any], required: Sequence[str], remake: str) -> None:
    """Make sure that a result file has everything that a page needs.

    Args:
        name: name of the file, for the message.
        found: contents of the file.
        required: keys that it must have.
        remake: how to make the file anew, for the message.

    Raises:
        StoreError: it lacks a part, or another version wrote it; the message says how to remake it.
    """
    missing = [key for key in required if key not in found]
    if missing or found["schema"] != 1:
        what = f"lacks {', '.join(missing)}" if missing else f"has schema {found['schema']!r}, not 1"
        raise StoreError(f"{name} {what}: {remake} to rewrite it")


def write_pages(folder: Path, html: str, markdown: str, figures: Mapping[str, bytes]) -> Path:
    """Write figures/, report.md and report.html of a folder, each whole or not at all.

    Args:
        folder: the folder.
        html: contents of report.html.
        markdown: contents of report.md.
        figures: contents of the figures by file name.

    Returns:
        The path of the page.
    """
    for name, content in figures.items():
        write_atomic(folder / "figures" / name, content)
    write_atomic(folder / "report.md", markdown.encode())
    page = folder / "report.html"
    write_atomic(page, html.encode())
    return page


def fitted(render: Callable[[float], str]) -> str:
    """The page with as much data as fits under 5 MB.

    Args:
        render: renders the page with at most a share, in (0, 1], of the data that it may embed.

    Raises:
        StoreError: the page cannot be brought under 5 MB.
    """
    scale = 1.0
    while True:
        page = render(scale)
        if len(page.encode()) < MAX_BYTES:
            return page
        if scale < 0.01:
            raise StoreError(
                f"the report needs {len(page.encode()):,} bytes without any transcript, the limit is {MAX_BYTES:,}: "
                "shorten the notes and findings of the run, or read its Parquet and JSON files directly"
            )
        scale /= 4
