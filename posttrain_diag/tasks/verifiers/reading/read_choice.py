r"""Which of the listed options does a text choose?

    B    (B)    **B**    B) blue    Option B is correct.    I would pick B.    It must be (B).    so B
    The answer is not A, it is B.    A is wrong, B is wrong and D is wrong. Thus C.
    Carbon dioxide    Plants take in carbon dioxide.    La respuesta correcta es la B.

Every option that a text names, by its letter or by its words, is a mention: chosen, denied or only named. What is marked
comes first, then what a phrase chooses, then the one option that is left. Two that are chosen together are none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.reading.marks import Mark, after_mark
from posttrain_diag.tasks.verifiers.reading.number_words import iter_number_words
from posttrain_diag.tasks.verifiers.reading.question import Question, stems
from posttrain_diag.tasks.verifiers.reading.read_truth import read_truth, truth_of
from posttrain_diag.tasks.verifiers.reading.sentences import (
    DENIED_AFTER,
    DENIED_BEFORE,
    REFUSES,
    Sentence,
    after_correction,
    second_thought,
    sentences,
)
from posttrain_diag.tasks.verifiers.reading.word_forms import fold_answer, plain

_NOUN = r"(?:option|choice|answer|letter|alternative|opción|réponse|choix|lettre|antwort|opzione|lettera|opção|letra|вариант|选项|選項|選択肢)"
_LETTER = re.compile(
    rf"""(?<![\w'’.-])(?:(?P<noun>{_NOUN})\s*[:#]?\s*)?(?P<open>[\[(]?)\s*(?P<letter>[A-Z])(?![\w'’+]|-\w|\.\w)\s*(?P<close>[\])]?)""",
    re.VERBOSE | re.IGNORECASE,
)
_CHOOSES_BEFORE = re.compile(
    r"""(?:\b(?:pick|picked|choose|chose|select|selected|go(?:ing|es|ne)?\swith|opt\sfor|vote\sfor|say|guess|take|favou?r|settle\s(?:on|for)|
    (?:answer|option|choice|one|letter|solution|alternative)\s(?:is|would\sbe|must\sbe|should\sbe|will\sbe|has\sto\sbe|:|=)|
    (?:it|that|this|which|what)(?:'s|\sis|\swas|\swould\sbe|\smust\sbe|\sshould\sbe|\shas\sto\sbe|\scan\sonly\sbe|\sleaves(?:\sus\swith)?)|
    must\sbe|would\sbe|has\sto\sbe|should\sbe|can\sonly\sbe|is\s(?:clearly|obviously|definitely|therefore|thus|indeed|simply|most\slikely|probably)|
    so|thus|hence|therefore|then|leaves(?:\sus\swith)?|leaving(?:\sus\swith)?|points\sto|corresponds\sto|matches|namely|
    es|sería|est|serait|ist|lautet|wäre|è|é|seria|is|are|это|also|donc|ainsi|also|daher|por\stanto|quindi|portanto)
    |[:=→]|->|=>|是|选|選|は|为|為)
    [\s,:("'“‘*_`\[$\\{-]*(?:(?:the|la|el|le|l['’]|die|der|das|il|lo|a|o|just|really|indeed|clearly|definitely|likely|probably|actually|simply|therefore|thus|option|choice|letter|answer|
    \(?text\{|opción|réponse|antwort|opzione|letra|lettera|lettre)\b[\s("'“‘*_`\[:]*){0,3}\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_CHOSEN_AFTER = re.compile(
    r"""^[\s*_`'"”’)\].:,]*(?:\s*[^.?!\n;]{0,60}?\s)?(?:is|would\sbe|must\sbe|seems|looks|fits|matches|ist|est|es|è|é)\s+(?:\w+ly\s+|also\s+|indeed\s+)?
    (?:the\s|la\s|le\s|el\s|die\s|il\s|a\s)?(?:only\s|most\s|single\s|one\sthat\sis\s)?
    (?:correct|right|best|true|answer|appropriate|accurate|proper|valid|one|choice|option|likely|suitable|richtig\w*|bonne|correcta?|exacte|corrett\w|giust\w|corret\w|good)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_TOGETHER = re.compile(
    r"^[\s*_`'\"”)\].,:]*(?:\b(?:or|and|und|oder|et|ou|y|o|e|as well as)\b|/|&|\+)\s*(?:also\s|maybe\s|possibly\s|option\s|choice\s|[(\"'*])*\Z",
    re.IGNORECASE,
)
_ROW = re.compile(r"\s*[)\]]?\s*(?:,|\band\b|\bor\b|\bnor\b|, and\b|&|/)\s*[(\[]?\s*", re.IGNORECASE)


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
    denied: bool
    by_text: bool


def read_choice(text: str, marks: Sequence[Mark], options: Options, question: Question) -> str | None:
    """The letter of the option that a final part chooses; None where it chooses none, or several.

    Args:
        text: the final part of a completion.
        marks: the answers it marks, left to right.
        options: the options of the question.
        question: what was asked.
    """
    truths = _truths(tuple(options.texts.items()))
    if truths and not options.lettered:
        said = read_truth(text, marks, question)
        return None if said is None else truths[said]
    for i in range(len(marks) - 1, -1, -1):
        mark = marks[i]
        if not mark.closed and mark.kind == "boxed":
            return None
        if any(other.start < mark.end for other in marks[i + 1 :]):
            continue
        rest, corrected = after_correction(after_mark(text, mark), answered=True)
        again = rest if corrected else second_thought(rest)
        if again is not None:
            return _in_text(again, options, question)
        found = _marked(mark.text, options, question)
        if found is not None:
            return found.letter if isinstance(found, Mention) else None
        if mark.kind in ("boxed", "tag"):
            return None
    found = _in_text(text, options, question)
    if found is None and truths:
        said = read_truth(text, marks, question)
        return None if said is None else truths[said]
    return found


def option_alone(text: str, options: Options) -> str | None:
    """The letter of an option that a text is, as its letter alone (`B`, `(B)`, `B.`) or as its own words."""
    core = plain(text).strip(" \t\r\n.,:;!\"'()[]{}*")
    if len(core) == 1 and options.named(core.upper()):
        return core.upper()
    return _option_of_text(core, options)


def _truths(texts: tuple[tuple[str, str], ...]) -> dict[bool, str]:
    """Letters of the options that say yes and no, where the options are just these two."""
    if len(texts) != 2:
        return {}
    found = {truth: letter for letter, text in texts if (truth := truth_of(text)) is not None}
    return found if len(found) == 2 else {}


def _option_of_text(text: str, options: Options) -> str | None:
    core = canonical(text)
    hits = [letter for letter, option in options.texts.items() if canonical(option) == core]
    words = set(core.split())
    if not hits and words and max(map(len, words)) >= 4:
        hits = [letter for letter, option in options.texts.items() if words <= set(canonical(option).split())]
    return hits[0] if len(hits) == 1 and core else None


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """One spelling for the texts of options: folded, numbers by value."""
    core = fold_answer(text)
    number = lone_number(core)
    if number is None:
        words = list(iter_number_words(core))
        number = words[0] if len(words) == 1 and words[0].text == core else None
    return core if number is None or number.value is None else f"{number.value}{'%' if number.percent else ''}"


class _Several:
    """Several options that are chosen together."""


def _marked(text: str, options: Options, question: Question) -> Mention | _Several | None:
    """What is marked as the answer."""
    text = plain(text)
    alone = option_alone(text, options)
    if alone is not None:
        return Mention(alone, 0, len(text), True, False, False)
    parts = sentences(text)
    first = parts[0].text if parts else ""
    if not first or (parts[0].asks and len(parts) == 1):
        return None
    mentions = _mentions(text if len(parts) == 1 else text[: parts[1].start], options, marked=True)
    standing = [mention for mention in mentions if not mention.denied]
    if _alternatives(text, standing):
        return _Several()
    letters = [m for m in standing if not m.by_text and (m.chosen or _opens(text, m))]
    if letters:
        return letters[-1] if letters[-1].chosen and not _opens(text, letters[0]) else letters[0]
    by_text = [m for m in standing if m.by_text]
    return by_text[0] if by_text and len({m.letter for m in by_text}) == 1 else None


def _opens(text: str, mention: Mention) -> bool:
    return not any(
        char.isalnum() for char in re.sub(rf"(?i)\b(?:{_NOUN}|the|la|el|le|die|l)\b", "", text[: mention.start])
    )


def _in_text(text: str, options: Options, question: Question) -> str | None:
    text, _ = after_correction(plain(text))
    alone = option_alone(text, options)
    if alone is not None:
        return alone
    if _echoes(text, options):
        text = _without_echo(text, options)
    parts = [part for part in sentences(_unsplit(text)) if not part.asks]
    denied: set[str] = set()
    named: set[str] = set()
    chosen: str | None = None
    weak: list[tuple[int, int, str]] = []
    for i, part in enumerate(parts):
        mentions = _mentions(part.text, options)
        standing = [m for m in mentions if not m.denied]
        denied |= {m.letter for m in mentions if m.denied}
        named |= {m.letter for m in mentions}
        picked = [m for m in standing if m.chosen] or ([m for m in standing if _labels(part, m)] if i == 0 else [])
        if picked:
            together = _alternatives(part.text, standing)
            chosen = None if together else picked[-1].letter
            if together:
                weak = []
            continue
        if REFUSES.search(part.text):
            continue
        letters = {m.letter for m in standing}
        if len(letters) == 1:
            weak.append((len(set(stems(part.text)) & question.words), i, standing[0].letter))
        elif len(letters) > 1 and not _lists(standing):
            best = _clause_with_the_question(part.text, standing, question)
            if best is not None:
                weak.append((len(set(stems(part.text)) & question.words), i, best))
    if chosen is not None:
        return chosen
    if weak and not (len({letter for *_, letter in weak}) > 2 and _all_named(named, options)):
        most = max(overlap for overlap, *_ in weak)
        best = {letter for overlap, _, letter in weak if overlap == most}
        if len(best) == 1:
            return best.pop()
    left = set(options.texts) - denied
    return left.pop() if len(denied) >= 2 and len(left) == 1 else None


def _all_named(named: set[str], options: Options) -> bool:
    return bool(options.texts) and named >= set(options.texts)


def _lists(mentions: Sequence[Mention]) -> bool:
    return len({m.letter for m in mentions}) > 2


def _clause_with_the_question(text: str, mentions: Sequence[Mention], question: Question) -> str | None:
    """Of several options named in a sentence, the one whose clause speaks of what was asked."""
    pieces = [(m.start(), m.end()) for m in re.finditer(r"[^,;:]+", text)]
    scored: dict[str, int] = {}
    for start, end in pieces:
        inside = {m.letter for m in mentions if start <= m.start < end}
        if len(inside) == 1:
            letter = inside.pop()
            scored[letter] = max(scored.get(letter, 0), len(set(stems(text[start:end])) & question.words))
    ranked = sorted(scored.items(), key=lambda item: -item[1])
    if ranked and ranked[0][1] > 0 and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
        return ranked[0][0]
    return None


def _alternatives(text: str, mentions: Sequence[Mention]) -> bool:
    """Whether two different options stand beside each other, joined by `or` or `and`."""
    for one, two in zip(mentions, mentions[1:], strict=False):
        if one.letter != two.letter and _TOGETHER.match(text[one.end : two.start]):
            return True
    return False


def _labels(part: Sentence, mention: Mention) -> bool:
    """Whether a first sentence begins with the letter as with a label: `B) blue`, `B: because`, `B because`."""
    if mention.by_text:
        return False
    before, after = part.text[: mention.start], part.text[mention.end :]
    if any(char.isalnum() for char in before):
        return False
    return re.match(r"\s*(?:$|[).:,–—-]|\bbecause\b|\bsince\b|\bas\b|\bfor\b)", after) is not None


def _mentions(text: str, options: Options, *, marked: bool = False) -> list[Mention]:
    """The options that a text names, in order."""
    found = [*_letters(text, options, marked=marked), *_texts(text, options)]
    found.sort(key=lambda mention: (mention.start, mention.by_text))
    found = _denied_together(text, found)
    kept: list[Mention] = []
    for mention in found:
        last = kept[-1] if kept else None
        if last is not None and mention.by_text and last.letter == mention.letter and mention.start - last.end <= 4:
            kept[-1] = Mention(
                last.letter,
                last.start,
                mention.end,
                last.chosen or mention.chosen,
                last.denied or mention.denied,
                False,
            )
            continue
        if last is not None and mention.by_text and not last.by_text and 0 <= mention.start - last.end <= 3:
            continue  # "A) carbon dioxide": the letter counts
        kept.append(mention)
    return kept


def _denied_together(text: str, mentions: list[Mention]) -> list[Mention]:
    """Options in a row share their denial: `we can eliminate A, C and D`, `A, C and D are wrong`."""
    found = list(mentions)
    for order in (range(1, len(found)), range(len(found) - 2, -1, -1)):
        for i in order:
            beside = found[i - 1] if order.step > 0 else found[i + 1]
            first, second = sorted((found[i], beside), key=lambda mention: mention.start)
            if beside.denied and not found[i].denied and _ROW.fullmatch(text[first.end : second.start]):
                found[i] = replace(found[i], denied=True, chosen=False)
    return found


def _letters(text: str, options: Options, *, marked: bool) -> list[Mention]:
    found: list[Mention] = []
    for match in _LETTER.finditer(text):
        letter = match["letter"]
        if not options.named(letter.upper()) or (not letter.isupper() and not (match["noun"] or match["open"])):
            continue
        before, after = text[: match.start()], text[match.end() :]
        if match["noun"]:
            before = text[: match.start("noun")]
        chooses = _CHOOSES_BEFORE.search(text[max(0, match.start("letter") - 90) : match.start("letter")]) is not None
        if (
            letter in "AI"
            and not match["open"]
            and not match["close"]
            and not match["noun"]
            and _is_a_word(before, after, chooses)
        ):
            continue
        if match["noun"] and match["noun"].lower() == "answer" and not letter.isupper():
            continue
        denied = _is_denied(text, match.start(), match.end())
        after_says = _CHOSEN_AFTER.match(after[:90]) is not None
        chosen = (chooses or after_says) and not denied
        found.append(Mention(letter.upper(), match.start(), match.end(), chosen, denied, False))
    return found


def _is_a_word(before: str, after: str, chooses: bool) -> bool:
    """Whether a capital A (or I) is the article (or pronoun): another word follows, and no comma or verb."""
    if re.match(
        r"\s*(?:$|[,.:;!?)\]\"'*–—-]|(?:is|was|or|and|because|since|here|as|would|must|seems|fits|has|cannot|can't|isn't|und|oder|et|ou|y|o|est|es|ist)\b)",
        after,
    ):
        return False
    return not (chooses and before.strip() and re.match(r"\s*(?:for|in|on|instead|over|with|to|by|due|at)\b", after))


def _is_denied(text: str, start: int, end: int) -> bool:
    after = text[end : end + 80]
    return (
        DENIED_BEFORE.search(text[max(0, start - 50) : start]) is not None
        or DENIED_AFTER.match(after) is not None
        or re.match(
            r"^[)\].:]*\s*[^.?!\n;,]{0,50}?\b(?:is|are|was)\s+(?:\w+ly\s+)?(?:wrong|incorrect|false|not (?:correct|right|true|the))\b",
            after,
        )
        is not None
    )


def _texts(text: str, options: Options) -> list[Mention]:
    """Options named by their own words; of overlapping ones the longest."""
    found: list[Mention] = []
    for letter, pattern in _patterns(tuple(options.texts.items())):
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 90) : match.start()]
            denied = _is_denied(text, match.start(), match.end())
            chosen = not denied and _chooses_text(before, text[match.end() :])
            found.append(Mention(letter, match.start(), match.end(), chosen, denied, True))
    return [
        one
        for one in found
        if not any(
            two is not one
            and two.start <= one.start
            and one.end <= two.end
            and two.end - two.start > one.end - one.start
            for two in found
        )
    ]


def _chooses_text(before: str, after: str) -> bool:
    """Whether a phrase chooses an option's words: `the answer is`, `I would pick`, `... is the correct answer`."""
    chosen = re.search(
        r"\b(?:pick|choose|select|go with|opt for|answer (?:is|would be|must be)|(?:correct|right|best) (?:option|choice|one) is|it(?:'s| is| was| must be| would be))\s+"
        r"(?:[\"'(]|the |a |an |option )*\Z",
        before,
        re.IGNORECASE,
    )
    return (
        chosen is not None
        or re.match(r"^[\"')]*\s+(?:is|would be|must be)\s+(?:the\s)?(?:correct|right|best|answer)\b", after, re.I)
        is not None
    )


@lru_cache(maxsize=2048)
def _patterns(texts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    found: list[tuple[str, re.Pattern[str]]] = []
    for letter, option in texts:
        core = plain(option).strip(" .;,\"'")
        if not core or len(core) > 300 or (len(core) == 1 and core.isalpha()):
            continue
        pieces = [re.escape(piece) for piece in re.split(r"[\s-]+", core) if piece]
        core_pattern = r"[\s-]+".join(pieces)
        number = lone_number(core)
        left = r"(?<![\w.,])" if number is not None else r"(?<!\w)" if core[0].isalnum() else ""
        right = r"(?![\w%]|[.,]\d)" if number is not None else r"(?!\w)" if core[-1].isalnum() else ""
        spelled = list(iter_number_words(core))
        if (
            len(spelled) == 1
            and spelled[0].text == core
            and spelled[0].value is not None
            and spelled[0].value.denominator == 1
        ):
            core_pattern = rf"(?:{core_pattern}|(?<![\d.,]){spelled[0].value.numerator}(?![\d%]|[.,]\d))"
        found.append((letter, re.compile(f"{left}{core_pattern}{right}", re.IGNORECASE)))
    return tuple(found)


def _echoes(text: str, options: Options) -> bool:
    """Whether a text repeats the list of options as the prompt has it."""
    return sum(1 for letter, option in options.texts.items() if _echo(letter, option).search(text)) >= min(
        3, len(options.texts)
    )


@lru_cache(maxsize=2048)
def _echo(letter: str, option: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\n)\s*\(?{letter}[).:]\s*{re.escape(plain(option))}[ .]*(?=\n|$)", re.IGNORECASE)


def _without_echo(text: str, options: Options) -> str:
    spans = [match.span() for letter, option in options.texts.items() if (match := _echo(letter, option).search(text))]
    if not spans:
        return text
    before, after = text[: min(start for start, _ in spans)], text[max(end for _, end in spans) :]
    return after if after.strip() else before if not before.rstrip().endswith("?") else ""


def _unsplit(text: str) -> str:
    """The text with the points of `B. Penguin` as brackets, so that they end no sentence."""
    return re.sub(r"(?m)(^|[\s(*])([A-Z])\.(?=\s+\S)", r"\1\2)", text)
