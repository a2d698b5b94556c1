"""Words and names as they are compared: without markup, accents, case, articles and the word for what they name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from posttrain_diag.tasks.verifiers.reading.listing import words
from posttrain_diag.tasks.verifiers.reading.question import stem, unaccented

MAX_WORDS = 12
"""A longer gold is a text of its own: it must stand alone or be marked."""

ARTICLE = r"(?:the|an?|le|la|les|l['’]|el|los|las|der|die|das|il|lo|gli|o|os|as)"
_ARTICLE_FIRST = re.compile(rf"^{ARTICLE}\s+(?=\S)|^l['’](?=\w)", re.IGNORECASE)
_MARKUP = re.compile(r"\*{1,3}|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|`+|~~|^\s*#{1,6}\s+|\$", re.MULTILINE)
_HAS_MARKUP = re.compile(r"[*_`~#$<]")
_LATEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|boxed|fbox|mbox|emph)\s*\{([^{}]*)\}")
_TAGS = re.compile(r"</?[A-Za-z_][\w-]{0,30}>")
_QUOTES = str.maketrans(dict.fromkeys("“”„«»‟", '"') | dict.fromkeys("’‘‚`´", "'") | dict.fromkeys("‐‑‒–—−", "-"))
_SPACE = re.compile(r"[ \t\u00a0\u202f\u2009]+")
_NO_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
"""Scripts that put no spaces between words."""
_AROUND = " \t\r\n.,;:!?\"'()[]{}<>*"
_INITIALS = re.compile(r"(?<=\w)\.(?=\w\b)|(?<=\b\w)\.(?=\s|$)")
_NAME_PARTICLES = (
    "de",
    "da",
    "di",
    "du",
    "van",
    "von",
    "der",
    "den",
    "la",
    "le",
    "del",
    "della",
    "bin",
    "al",
    "el",
    "ibn",
    "y",
)
_KINDS = {"mount": "mountain", "mt": "mountain", "mountain": "mountain"} | {
    kind: kind for kind in words("lake river ocean sea desert island president king queen planet street")
}
"""Words of a name that a question may have asked for by themselves."""


@dataclass(frozen=True)
class Wanted:
    """A gold word, ready to be looked for."""

    core: str
    """Folded, without an article."""
    pattern: re.Pattern[str]
    surname: re.Pattern[str] | None
    """The last name of a gold that is a full name."""
    words: int
    kinds: frozenset[str]
    """Words for what the name names, which the question has: they may be left out, or added."""
    common: bool
    """A common noun: its plural says the same."""


def plain(text: str) -> str:
    """A text without markup, accents and special quotes; case and punctuation stay."""
    if "\\" in text:
        for _ in range(3):
            text = _LATEX.sub(r"\1", text)
        for mark in ("\\(", "\\)", "\\[", "\\]"):
            text = text.replace(mark, "")
        text = text.replace("\\ ", " ")
    if _HAS_MARKUP.search(text):
        text = _TAGS.sub(" ", _MARKUP.sub("", text))
    return _SPACE.sub(" ", unaccented(text.translate(_QUOTES))).strip()


@lru_cache(maxsize=4096)
def fold_answer(text: str) -> str:
    """A short answer as it is compared: plain, no case, no article, no punctuation around it."""
    core = _ARTICLE_FIRST.sub("", plain(text).strip(_AROUND).casefold())
    return _INITIALS.sub("", re.sub(r"[\s-]+", " ", core))


@lru_cache(maxsize=4096)
def wanted_word(gold: str, asked: frozenset[str] = frozenset()) -> Wanted:
    """A gold answer as something that can be looked for in texts.

    Args:
        gold: the answer.
        asked: content words of the question: asked for a mountain, "Everest" is "Mount Everest".
    """
    kinds = frozenset(word for word, kind in _KINDS.items() if kind in asked)
    cased = _ARTICLE_FIRST.sub("", plain(gold).strip(_AROUND)) or plain(gold).strip()
    cased = without_kind(cased, kinds)
    core = fold_answer(cased) or cased.casefold()
    common = cased.islower() and cased.isalpha() and len(cased) > 2
    pieces = [re.escape(piece) for piece in re.split(r"[\s-]+", cased) if piece]
    plural = "(?:s|es)?" if common and not cased.endswith("s") else ""
    spaced = _NO_SPACES.search(cased) is None
    left = r"(?<![\w])" if spaced and cased[:1].isalnum() else ""
    right = r"(?![\w])(?!'s\b(?! the| it| a| an| called|\s*$))(?!-\w)" if spaced and cased[-1:].isalnum() else ""
    named = "|".join(sorted(kinds))
    before, after = (rf"(?:(?:{named})\.?\s+)?", rf"(?:\s+(?:{named}))?") if kinds else ("", "")
    body = r"[\s-]+".join(pieces) + plural
    case = (
        0 if len(cased) <= 2 and cased.isascii() else re.IGNORECASE
    )  # a symbol (Au) in running text only in its own case
    pattern = re.compile(f"{left}{before}{body}{after}{right}", case)
    return Wanted(core, pattern, _surname(cased), len(pieces), kinds, common)


def without_kind(text: str, kinds: frozenset[str]) -> str:
    """A name without the word for what it names: Mount Everest, Everest; Pacific Ocean, Pacific."""
    if not kinds:
        return text
    words = text.split()
    if len(words) > 1 and words[0].lower().rstrip(".") in kinds:
        words = words[1:]
    if len(words) > 1 and words[-1].lower() in kinds:
        words = words[:-1]
    return " ".join(words)


def is_word(text: str, wanted: Wanted) -> bool:
    """Whether a text is the wanted word and nothing else."""
    folded = without_kind(fold_answer(text), wanted.kinds)
    return folded == wanted.core or (wanted.common and stem(folded) == stem(wanted.core))


def _surname(name: str) -> re.Pattern[str] | None:
    parts = name.split()
    full = 2 <= len(parts) <= 4 and all(part[:1].isupper() or part.lower() in _NAME_PARTICLES for part in parts)
    if not full or len(parts[-1]) < 4:
        return None
    particles = "|".join(_NAME_PARTICLES)
    return re.compile(rf"(?<!\w)(?:(?i:{particles})\s+)*{re.escape(parts[-1])}(?!\w)")
