r"""The stretches of a completion that may be code: what stands in fences, and the text between them.

    ```python      ~~~       [PYTHON]      '''python      <code>
    ...            ...       ...           ...            ...
    ```            ~~~       [/PYTHON]     '''            </code>

A fence ends with its like, a closing tag, the next fence that names a language, or the text. A fence that only closes
(its opening stood in the prompt) opens one here: the code before it is bare then, which is read as well.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = frozenset({"python", "py", "python3", "py3", "python2", "ipython", "pycon", "pyi", "sage"})
UNNAMED = frozenset({"", "text", "txt", "plaintext", "plain", "code", "repl", "jupyter", "none"})

_FENCE = re.compile(r"(?P<lead>[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<mark>`{3,}|~{3,}|'''|\"\"\")[ \t]*(?P<info>.*)")
_INLINE_OPENING = re.compile(r"(?P<before>[^`]*[^`\s])[ \t]*(?P<mark>```+)(?P<info>[A-Za-z0-9+#]*)[ \t]*")
_INLINE_CLOSING = re.compile(r"(?P<code>[^`]*[^`\s])[ \t]*```+[ \t]*")
_ONE_LINE = re.compile(r"(?:```+|`)(?:python|py)?[ \t]*(?P<code>(?:async )?def [^`\n]+)`+", re.IGNORECASE)
_LANGUAGE = re.compile(r"[{.]*(?P<name>[A-Za-z][\w+#-]*)?[}\s]*(?P<rest>.*)")
_TAG = re.compile(
    r"[ \t]*(?:(?P<open>\[(?:PYTHON|BEGIN|CODE|SOLUTION)\]|<(?:pre><)?(?:code|python|execute)(?: [^<>\n]*)?>)|"
    r"(?P<close>\[/(?:PYTHON|CODE|SOLUTION)\]|\[(?:DONE|END)\]|</(?:code|python|execute)>(?:</pre>)?))[ \t]*",
    re.IGNORECASE,
)
_WRAPPER = re.compile(r"</?(?:answer|solution|final_answer|response|output)>", re.IGNORECASE)
_INDENT = re.compile(r"^[ \t\u00a0]+", re.MULTILINE)
_TRIPLE = re.compile(r'"""|' + r"'''")


@dataclass(frozen=True)
class Stretch:
    """A stretch of a completion."""

    text: str
    r"""The text, dedented, with "\n" as the only line end."""
    language: str
    """The word after the opening fence in lower case; empty without one."""
    fenced: bool
    inline: bool = False
    """Whether it is one line of code in backticks in the middle of prose."""
    intro: str = ""
    """The last line of prose before a fence."""

    @property
    def python(self) -> bool:
        """Whether it stands in a fence that may hold Python, by what the fence says."""
        return self.fenced and (self.language in PYTHON or self.language in UNNAMED)


def blocks(text: str) -> tuple[Stretch, ...]:
    """The fenced stretches of a text and what stands between them, in order."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff\u200b")
    if "\u00a0" in text:
        text = _INDENT.sub(lambda indent: indent[0].replace("\u00a0", " "), text)
    if "<" in text:
        text = _WRAPPER.sub("", text)
    if not any(mark in text for mark in ("`", "~~~", "'''", '"""', "[", "<")):
        return (Stretch(textwrap.dedent(text), "", False),) if text.strip() else ()
    return tuple(_Scan(text).blocks())


class _Scan:
    """Makes one pass over the lines of a text and collects its stretches."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.found: list[Stretch] = []
        self.bare: list[str] = []
        self.intro = ""

    def blocks(self) -> Iterator[Stretch]:
        """All stretches of the text, in order."""
        i = 0
        while i < len(self.lines):
            i = self._line(i)
        self._end_bare()
        return iter(self.found)

    def _line(self, i: int) -> int:
        """Read the line i outside of any fence; returns the next line to read."""
        line = self.lines[i]
        tag = _TAG.match(line)
        if tag is not None and tag["open"] and (not line[tag.end() :].strip() or "def " in line):
            return self._fenced(i, "", "", first=line[tag.end() :])
        if tag is not None and tag["close"]:
            return i + 1
        opening = _FENCE.fullmatch(line)
        if opening is not None and "`" not in opening["info"]:
            return self._opening(i, opening)
        inline = _INLINE_OPENING.fullmatch(line) if "```" in line else None
        if inline is not None:
            self.bare.append(inline["before"])
            return self._fenced(i, inline["mark"], inline["info"].lower())
        for one in _ONE_LINE.finditer(line) if "`" in line and "def " in line else ():
            self.found.append(Stretch(one["code"].strip(), "", False, inline=True))
        self.bare.append(line)
        return i + 1

    def _opening(self, i: int, opening: re.Match[str]) -> int:
        """Read a line that is a fence."""
        mark, (language, rest) = opening["mark"], _info(opening["info"])
        quotes_open_code = opening["info"].strip().lower() in PYTHON
        if (mark[0] in "'\"" and not quotes_open_code) or self._in_docstring(i, self.bare):
            self.bare.append(self.lines[i])
            return i + 1
        return self._fenced(i, mark, language, first=rest, lead=opening["lead"])

    def _fenced(self, i: int, mark: str, language: str, first: str = "", lead: str = "") -> int:
        """Read a fence that opens on line i to its end; returns the line after it."""
        self._end_bare()
        content = [first] if first.strip() else []
        j = i + 1
        while j < len(self.lines):
            line = self.lines[j].removeprefix(lead) if lead.strip() == ">" else self.lines[j]
            closed, keep, again = self._closes(line, mark, j, content)
            if closed:
                content += [keep] if keep else []
                j += not again
                break
            content.append(line)
            j += 1
        text = textwrap.dedent("\n".join(content))
        self.found.append(Stretch(text, language, True, intro=self.intro))
        self.intro = ""
        return j

    def _closes(self, line: str, mark: str, j: int, content: list[str]) -> tuple[bool, str, bool]:
        """Whether the line ends the fence, the code before its end, and whether the line opens another fence."""
        tag = _TAG.match(line)
        if tag is not None and tag["close"] and not mark:
            return True, "", False
        if not mark and tag is None and (found := re.search(r"\[/PYTHON\]|\[DONE\]|</code>", line)) is not None:
            return True, line[: found.start()], False
        fence = _FENCE.fullmatch(line)
        if fence is not None and fence["mark"][0] == (mark or "`")[0] and len(fence["mark"]) >= len(mark):
            if fence["info"].strip().lower() in PYTHON or not mark:
                return True, "", True
            return not self._in_docstring(j, content), "", False
        if mark.startswith("```") and line.rstrip().endswith("```") and _INLINE_CLOSING.fullmatch(line):
            return not self._in_docstring(j, content), line.rstrip().rstrip("`").rstrip(), False
        return False, "", False

    def _in_docstring(self, j: int, content: list[str]) -> bool:
        """Whether a fence on line j stands in a docstring that ends further down."""
        quotes = _TRIPLE.findall("\n".join(content))
        return len(quotes) % 2 == 1 and any(quotes[-1] in line for line in self.lines[j + 1 :])

    def _end_bare(self) -> None:
        text = "\n".join(self.bare)
        self.bare = []
        lines = [line for line in text.split("\n") if line.strip()]
        if lines:
            self.intro = lines[-1]
            self.found.append(Stretch(textwrap.dedent(text), "", False))


def _info(info: str) -> tuple[str, str]:
    """The (language, code) behind an opening fence: "python", "{.python}", "python def f(x): return x"."""
    match = _LANGUAGE.fullmatch(info.strip())
    if match is None:
        return "", info
    name, rest = (match["name"] or "").lower(), match["rest"]
    if name in ("def", "import", "from", "class"):
        return "", info
    return name, rest if re.match(r"(?:def|import|from|class)\b", rest) else ""
