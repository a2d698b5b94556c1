r"""Where a text names the options of a question, by letter or by words, and whether it chooses or denies them.

Option B is correct.   I would pick B.   It must be (B).   so B          B, chosen
B is wrong.   not B   We can eliminate A, C and D.                       denied
Plants take in carbon dioxide.                                           named
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.reading.number_words import lone_number_word, spelled
from posttrain_diag.tasks.verifiers.reading.question import Question, stems
from posttrain_diag.tasks.verifiers.reading.sentences import DENIED_AFTER, DENIED_BEFORE
from posttrain_diag.tasks.verifiers.reading.word_forms import fold_answer, plain

NOUN = (
    r"(?:option|choice|answer|letter|alternative|opción|réponse|choix|lettre|antwort|opzione|lettera|opção|letra|вариант|"
    r"选项|選項|選択肢)"
)
_LETTER = re.compile(
    rf"""(?<![A-Za-zÀ-ɏ\d_'’.-])(?:(?P<noun>{NOUN})\s*[:#]?\s*)?(?P<open>[\[(]?)\s*(?P<letter>[A-Z])
    (?![A-Za-zÀ-ɏ\d_'’+]|-\w|\.\w)\s*(?P<close>[\])]?)""",
    re.VERBOSE | re.IGNORECASE,
)
_CHOOSES_BEFORE = re.compile(
    r"""(?:\b(?:pick|picked|choose|chose|select|selected|go(?:ing|es|ne)?\swith|opt\sfor|vote\sfor|say|guess|take|favou?r|
    settle\s(?:on|for)|(?:answer|option|choice|one|letter|solution|alternative)\s(?:is|would\sbe|must\sbe|should\sbe|will\sbe|has\sto\sbe|:|=)|
    (?:it|that|this|which|what)(?:'s|\sis|\swas|\swould\sbe|\smust\sbe|\sshould\sbe|\shas\sto\sbe|\scan\sonly\sbe|\sleaves(?:\sus\swith)?)|
    must\sbe|would\sbe|has\sto\sbe|should\sbe|can\sonly\sbe|
    is\s(?:clearly|obviously|definitely|therefore|thus|indeed|simply|most\slikely|probably)|
    so|thus|hence|therefore|then|leaves(?:\sus\swith)?|leaving(?:\sus\swith)?|points\sto|corresponds\sto|matches|namely|
    es|sería|est|serait|ist|lautet|wäre|è|é|seria|is|are|это|also|donc|ainsi|daher|por\stanto|quindi|portanto|wähle|nehme|elijo|choisis|scelgo)
    |[:=→∴]|->|=>|是|选|選|は|为|為)
    [\s,:("'“‘*_`\[$\\{-]*(?:(?:the|la|el|le|l['’]|die|der|das|il|lo|a|o|just|really|indeed|clearly|definitely|likely|probably|actually|
    simply|therefore|thus|option|choice|letter|answer|\(?text\{|opción|réponse|antwort|opzione|letra|lettera|lettre)\b[\s("'“‘*_`\[:]*){0,3}\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_CHOSEN_AFTER = re.compile(
    r"""^[\s*_`'"”’)\].:,]*(?:\s*[^.?!\n;]{0,60}?\s)?(?:is|would\sbe|must\sbe|seems|looks|fits|matches|ist|est|es|è|é)\s+
    (?:\w+ly\s+|also\s+|indeed\s+)?(?:the\s|la\s|le\s|el\s|die\s|il\s|a\s)?(?:only\s|most\s|single\s|one\sthat\sis\s)?
    (?:correct|right|best|true|answer|appropriate|accurate|proper|valid|one|choice|option|likely|suitable|richtig\w*|bonne|correcta?|
    exacte|corrett\w|giust\w|corret\w|good|what\s(?:i|we)\b)\b
    | ^[)\].:]*\s*(?:yes|true|correct|right)(?=\s*(?:\Z|[,;.]|\(?[A-Z][).]))
    | ^[)\].]*\s*[^.?!\n;:]{0,50}(?::|\s[–—-])\s*(?:yes|true|correct|right|✓|✔|✅)\s*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_WRONG_AFTER = re.compile(
    r"^[)\].:]*\s*[^.?!\n;,]{0,50}?\b(?:is|are|was)\s+(?:\w+ly\s+)?(?:wrong|incorrect|false|not (?:correct|right|true|"
    r"the))\b|"
    r"^[)\].:]*\s*(?:no|false|wrong|incorrect)(?=\s*(?:\Z|[,;.]|\(?[A-Z][).]))|"
    r"^[)\].]*\s*[^.?!\n;:]{0,50}(?::|\s[–—-])\s*(?:no|false|incorrect|wrong|✗|✘|❌)\s*\Z",
    re.IGNORECASE,
)
_TEXT_CHOSEN_BEFORE = re.compile(
    r"\b(?:pick|choose|select|go with|opt for|answer (?:is|would be|must be)|(?:correct|right|best) (?:option|choice|"
    r"one) is|"
    r"(?:it|that)(?:'s| is| was| must be| would be)|so|thus|hence|therefore)\s+(?:[\"'(]|the |a |an |option )*\Z",
    re.IGNORECASE,
)
_TEXT_CHOSEN_AFTER = re.compile(
    r"^[\"')]*\s+(?:is|would be|must be)\s+(?:the\s)?(?:correct|right|best|answer)\b", re.IGNORECASE
)
_A_WORD = re.compile(
    r"\s*(?:$|[,.:;!?)\]\"'*–—-]|(?:is|was|or|and|because|since|here|as|would|must|seems|fits|has|cannot|can't|isn't|und|oder|et|ou|y|o|"
    r"est|es|ist|over)\b)",
    re.IGNORECASE,
)
"""What follows a letter A that is no article."""
_AFTER_CHOICE = re.compile(r"\s*(?:for|in|on|instead|over|with|to|by|due|at)\b", re.IGNORECASE)
_EXCEPT = re.compile(
    r"\b(?:except(?:\sfor)?|but|apart\sfrom|other\sthan)\s(?:for\s)?(?:the\s|option\s)?\W*\Z", re.IGNORECASE
)
_TOGETHER = re.compile(
    r"^[\s*_`'\"”)\].,:]*(?:\b(?:or|and|und|oder|et|ou|y|o|e|as well as)\b|/|&|\+)\s*"
    r"(?:also\s|maybe\s|possibly\s|option\s|choice\s|[(\"'*])*\Z",
    re.IGNORECASE,
)
_ROW = re.compile(r"\s*[)\]]?\s*(?:,|\band\b|\bor\b|\bnor\b|, and\b|&|/)\s*[(\[]?\s*", re.IGNORECASE)


MAX_CHARS = 2000
"""Characters of a sentence that are read."""


@dataclass(frozen=True)
class Options:
    """The options of a question."""

    texts: Mapping[str, str]
    """Letter -> text; empty where only letters are known."""
    lettered: bool
    """Whether the prompt shows the letters."""

    def named(self, letter: str) -> bool:
        """Whether the letter is one of an option."""
        return letter in self.texts if self.texts else len(letter) == 1 and "A" <= letter <= "Z"


@dataclass(frozen=True)
class Mention:
    """An option that a text names."""

    letter: str
    start: int
    end: int
    chosen: bool
    """A phrase chooses it."""
    denied: bool
    by_text: bool
    """Named by its own words instead of its letter."""


def option_alone(text: str, options: Options) -> str | None:
    """The letter of an option that a text is, as its letter alone (`B`, `(B)`, `B.`) or as its own words."""
    core = plain(text).strip(" \t\r\n.,:;!\"'()[]{}*")
    if len(core) == 1 and options.named(core.upper()):
        return core.upper()
    return _option_of_text(core, options)


def mentions_of(text: str, options: Options, question: Question) -> list[Mention]:
    """The options that a text names, in order; a letter with its own words is one mention."""
    text = text[:MAX_CHARS]
    found = [*_letters(text, options), *_texts(text, options)]
    if question.negative:
        found = [_as_asked(text, mention, question) for mention in found]
    found.sort(key=lambda mention: (mention.start, mention.by_text))
    kept: list[Mention] = []
    for mention in _denied_together(text, found):
        last = kept[-1] if kept else None
        near = last is not None and mention.by_text and 0 <= mention.start - last.end <= 4
        if near and last is not None and last.letter == mention.letter:
            chosen, denied = last.chosen or mention.chosen, last.denied or mention.denied
            kept[-1] = Mention(last.letter, last.start, mention.end, chosen, denied, last.by_text)
        elif not (near and last is not None and not last.by_text):  # "A) carbon dioxide": the letter counts
            kept.append(mention)
    return kept


def stand_together(text: str, mentions: list[Mention]) -> bool:
    """Whether two different options stand beside each other, joined by `or` or `and`."""
    return any(
        one.letter != two.letter and _TOGETHER.match(text[one.end : two.start]) is not None
        for one, two in itertools.pairwise(mentions)
    )


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """One spelling for the texts of options: folded, numbers by value."""
    core = fold_answer(text)
    number = lone_number(core) or lone_number_word(core)
    return core if number is None or number.value is None else f"{number.value}{'%' if number.percent else ''}"


def _option_of_text(text: str, options: Options) -> str | None:
    """The only option whose words these are, or among whose words they are (a last name)."""
    core = canonical(text)
    if not core:
        return None
    hits = [letter for letter, option in options.texts.items() if canonical(option) == core]
    words = set(core.split())
    if not hits and max(map(len, words)) >= 4:
        hits = [letter for letter, option in options.texts.items() if words <= set(canonical(option).split())]
    return hits[0] if len(hits) == 1 else None


def _letters(text: str, options: Options) -> list[Mention]:
    found: list[Mention] = []
    for match in _LETTER.finditer(text):
        letter, noun = match["letter"], match["noun"]
        if not options.named(letter.upper()) or (not letter.isupper() and not (noun or match["open"])):
            continue
        if noun and noun.lower() == "answer" and not letter.isupper():
            continue
        before, after = text[: match.start("letter")], text[match.end() :]
        chooses = _CHOOSES_BEFORE.search(before[-90:]) is not None
        alone = not (match["open"] or match["close"] or noun)
        if letter in "AI" and alone and _is_a_word(text[: match.start()], after, chooses=chooses):
            continue
        denied = _is_denied(text, match.start(), match.end())
        chosen = (chooses or _CHOSEN_AFTER.match(after[:90]) is not None) and not denied
        found.append(Mention(letter.upper(), match.start(), match.end(), chosen, denied, False))
    return found


def _is_a_word(before: str, after: str, *, chooses: bool) -> bool:
    """Whether a capital A (or I) is the article (or pronoun): another word follows, and no comma or verb."""
    if _A_WORD.match(after):
        return False
    return not (chooses and before.strip() and _AFTER_CHOICE.match(after))


def _as_asked(text: str, mention: Mention, question: Question) -> Mention:
    """Where it is asked what is not so, an option that is said not to be so is chosen: `B is not a mammal`."""
    after = text[mention.end : mention.end + 80]
    excepted = _EXCEPT.search(text[max(0, mention.start - 40) : mention.start]) is not None
    says = DENIED_AFTER.match(after) is not None and bool(set(stems(after)) & question.words)
    return replace(mention, denied=False, chosen=True) if mention.denied and (excepted or says) else mention


def _is_denied(text: str, start: int, end: int) -> bool:
    after = text[end : end + 80]
    return (
        DENIED_BEFORE.search(text[max(0, start - 50) : start]) is not None
        or DENIED_AFTER.match(after) is not None
        or _WRONG_AFTER.match(after) is not None
    )


def _denied_together(text: str, mentions: list[Mention]) -> list[Mention]:
    """Options in a row share their denial: `we can eliminate A, C and D`, `A, C and D are wrong`."""
    found = list(mentions)
    for order in (range(1, len(found)), range(len(found) - 2, -1, -1)):
        for i in order:
            beside = found[i - order.step]
            first, second = sorted((found[i], beside), key=lambda mention: mention.start)
            if beside.denied and not found[i].denied and _ROW.fullmatch(text[first.end : second.start]):
                found[i] = replace(found[i], denied=True, chosen=False)
    return found


def _texts(text: str, options: Options) -> list[Mention]:
    """Options named by their own words; of overlapping ones the longest."""
    found: list[Mention] = []
    for letter, pattern in _patterns(tuple(options.texts.items())):
        for match in pattern.finditer(text):
            denied = _is_denied(text, match.start(), match.end())
            before, after = text[max(0, match.start() - 90) : match.start()], text[match.end() :]
            says = _TEXT_CHOSEN_BEFORE.search(before) or _TEXT_CHOSEN_AFTER.match(after)
            found.append(Mention(letter, match.start(), match.end(), says is not None and not denied, denied, True))
    return [one for one in found if not any(_inside(one, two) for two in found)]


def _inside(one: Mention, two: Mention) -> bool:
    return two.start <= one.start and one.end <= two.end and two.end - two.start > one.end - one.start


@lru_cache(maxsize=2048)
def _patterns(texts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((letter, pattern) for letter, option in texts if (pattern := _pattern(option)) is not None)


def _pattern(option: str) -> re.Pattern[str] | None:
    """Where the words of an option stand in a text; a number also in the other of digits and words."""
    core = plain(option).strip(" .;,\"'")
    if not core or len(core) > 300 or (len(core) == 1 and core.isalpha()):
        return None
    body = r"[\s-]+".join(re.escape(piece) for piece in re.split(r"[\s-]+", core) if piece)
    number = lone_number(core)
    if number is not None:
        word = spelled(int(number.value)) if number.value is not None and number.value.denominator == 1 else None
        in_words = rf"|(?<![\w-]){word}(?![\w-])" if word and not number.percent else ""
        return re.compile(rf"(?<![\w.,]){body}(?![\w%]|[.,]\d){in_words}", re.IGNORECASE)
    number = lone_number_word(core)
    if number is not None and number.value is not None:
        body = rf"(?:{body}|(?<![\d.,]){re.escape(str(number.value))}(?![\d%]|[.,]\d))"
    left, right = (r"(?<!\w)" if core[0].isalnum() else ""), (r"(?!\w)" if core[-1].isalnum() else "")
    return re.compile(f"{left}{body}{right}", re.IGNORECASE)
