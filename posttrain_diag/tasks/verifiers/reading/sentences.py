"""Sentences of an answer, and which of them do not answer: corrections, checks, questions, two answers at once.

The cues are phrases of running text in the languages models answer in most. They decide between the answers that a
text names; none of them is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

MAX_SENTENCES = 60
"""Of longer texts the first and the last sentences are read."""

_ABBREVIATION = re.compile(
    r"(?:\b(?i:st|mr|mrs|ms|dr|prof|vs|e\.g|i\.e|approx|fig|eq|jr|sr|inc|ltd|mt|cf|ca|u\.s|u\.k|z\.b|bzw|gen|sgt|capt)|"
    r"(?:^\W*|[.(]\s?|\b[A-Z][a-z]+\s)[A-Z])\Z"
)
"""What a full stop ends no sentence after: a title, an initial."""
_NUMBER_SIGN = re.compile(r"\b(?:no|nr|vol|ch|p)\Z", re.IGNORECASE)
"""What it ends none after where a number follows: No. 5."""
_END = re.compile(r"\n+|(?:\.{3,}|…)[\"'”’)\]*_]*|[.!?;]+[\"'”’)\]*_`$]*(?=\s|\Z)|[。！？；]+")
_SAYS_SOMETHING = re.compile(r"[^\W_]")
_LIST_HEAD = re.compile(r"^\s*(?:[-*•–+]\s+|\(?\d{1,2}[.)]\s+(?=\S))")


class Cue:
    """A pattern of running text with words of which one must be there for it to match: most texts hold none."""

    def __init__(self, pattern: str, words: str) -> None:
        """Compile the pattern, without regard to case.

        Args:
            pattern: a regular expression.
            words: pieces of text, in lower case, with spaces between them (a hard space stands for one within).
        """
        self._pattern = re.compile(pattern, re.IGNORECASE)
        self._words = tuple(dict.fromkeys(word.replace("\xa0", " ") for word in words.split(" ")))

    def search(self, text: str) -> re.Match[str] | None:
        """The first match in a text."""
        return self._pattern.search(text) if self._may_match(text) else None

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches in a text."""
        return self._pattern.finditer(text) if self._may_match(text) else iter(())

    def _may_match(self, text: str) -> bool:
        lower = text.lower()
        return any(word in lower for word in self._words)


CORRECTS = Cue(
    r"\b(?:(?:that|this|it|which)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct|it|quite right)|a mistake)|"
    r"i (?:made|have made|had) (?:a|an|some) (?:\w+ )?(?:mistake|error|slip)|my (?:mistake|bad|error)|scratch that|"
    r"(?:(?<=[.!?]\s)|^)sorry\b,?(?!\s*(?:but|for|that|about|to|,? ?i\b))|"
    r"correction|let me (?:correct|fix|redo|restart|rephrase|try again)|(?:no|oh|oops|ah|wait|sorry),? (?:sorry|wait|"
    r"no)\b|"
    r"i (?:meant|mean)\b|(?:i )?misspoke|i was wrong|on second thou?ghts?|apologies|i apologi[sz]e|strike that|"
    r"oops|whoops|should (?:actually|instead|rather) be|"
    r"non,? pardon|pardon|je me (?:suis )?tromp\w*|nein,? (?:moment|warte|doch)|falsch|entschuldigung|korrektur|"
    r"perdón|me equivoqué|corrección|scusa|mi sono sbagliat\w|desculpa|errei|нет, стоп|ошибся|исправлю)",
    "wrong incorrect not mistake error slip bad scratch sorry correct let\xa0me no, no\xa0 oh oops ah wait "
    "meant mean misspoke thou "
    "apolog strike oops should pardon tromp nein falsch entschuldigung korrektur perdón equivoqu correcci scusa "
    "sbagliat desculpa "
    "errei стоп ошибся исправлю",
)
"""What takes back the answer before it."""
DOUBTS = re.compile(
    r"^\W{0,3}(?:(?:oh|hm+|but|ah|no)[,. ]+)?(?:wait|hold on|actually|hm+|no[,.]|moment|warte|attends|espera|стоп|"
    r"hang on)\b",
    re.IGNORECASE,
)
"""What opens a second thought; the answer before it stands unless another one follows."""
REMARKS = re.compile(
    r"""^[\W_]{0,4}(?:
        (?:i\s)?hope\b | let\sme\sknow | if\syou\s(?:have|need|want|would|are) | do\syou\b | would\syou\b |
        is\sthere\sanything
      | (?:i(?:'m|\sam)\s)?happy\sto | any\s(?:other|more|further)\b | feel\sfree | please\b | thank | you(?:'re|
      \sare)\swelcome
      | (?:(?:let(?:'s|\sus|\sme)|to|we\scan|i(?:'ll|\swill)|now|and|quick|sanity|double)[\s-]+)?(?:also[\s,]+)?(?:
            check(?:ing|ed)?\b | double-?check | verif\w+ | note\b | explanation\b | explain\b | reason(?:ing)?\b |
            proof\b | remark\b
          | for\s(?:example|instance|reference|comparison)\b | e\.g\.
          | this\s(?:is\s(?:an?\s(?:simple|classic|basic|typical|case|example|common|well|good|straight\w*|known)|
          because|due|how)|comes|took)
          | that\s(?:took|is\sbecause|'s\sbecause|makes\ssense) | as\sa\scheck | you\s(?:can|could|may|might|should) |
          source
          | here(?:\sis|'s)\s(?:how|why) | the\s(?:check|proof|explanation|reason|verification)\b | in\sother\swords |
          fun\sfact
          | by\sthe\sway | interesting\w* | (?:counted|rounded|checked|found|computed|using|used|see)\b | remember\b |
          it\sis\salso\b
          | explication | vérif\w+ | remarque | erklärung | probe\b | hinweis | nota\b | comprob\w+ | explicación |
          verifica\b
          | проверк\w+ | 検算 | 验证 | 注))""",
    re.IGNORECASE | re.VERBOSE,
)
"""What goes on after an answer: checks, notes and explanations."""
_CONCLUDES = re.compile(
    r"^\W{0,4}(?:and )?(?:so|thus|hence|therefore|then|consequently|accordingly|as a result|in conclusion|in (?:total|"
    r"all|short|"
    r"summary|sum|the end)|all in all|altogether|overall|finally|that (?:means|gives|makes|leaves)|this (?:means|gives|"
    r"makes|leaves)|we (?:get|have|find|obtain)|donc|ainsi|au total|also|daher|somit|folglich|insgesamt|"
    r"por (?:lo )?tanto|"
    r"así que|en total|quindi|dunque|in totale|portanto|logo|então|поэтому|итак|значит|следовательно|所以|因此|よって|"
    r"したがって|따라서|그래서)\b",
    re.IGNORECASE,
)
_CONCLUDES_INSIDE = re.compile(r"\b(?:so|thus|hence|therefore),", re.IGNORECASE)
HEDGES = Cue(
    r"\b(?:either\b.{1,60}\bor\b|it depends|depend(?:s|ing) on|some (?:\w+ )?(?:say|claim|argue|think|believe)|"
    r"others (?:say|claim|argue|think|believe)|unless\b|can(?:'t|not) (?:decide|tell|say)|not sure (?:which|whether|"
    r"if)|"
    r"one of (?:these|those|them|the two)|entweder\b.{1,60}\boder\b|soit\b.{1,60}\bsoit\b|je nach|ça dépend|depende|"
    r"kommt darauf an|ou bien|(?:perhaps|maybe|possibly)\b.{1,60}\b(?:perhaps|maybe|possibly)|torn between|"
    r"can(?:'t|not) choose|undecided)",
    "perhaps maybe possibly torn choose undecided either depend say claim argue think believe unless decide "
    "tell sure one\xa0of entweder soit je\xa0nach dépend kommt ou\xa0bien",
)
"""What leaves open which of several answers is meant."""
REFUSES = re.compile(
    r"\b(?:i(?:'m| am)? (?:can(?:'t|not| not)|could(?:n't| not)|(?:am )?unable to|(?:am )?not able to|do(?:n't|"
    r" not) (?:know|have)|"
    r"have no (?:idea|access|answer)|(?:am )?not (?:sure|certain))|no idea|cannot (?:be (?:determined|answered)|"
    r"determine|answer|"
    r"help)|can't (?:be (?:determined|answered)|determine|answer|help)|not enough information|insufficient information|"
    r"there is no (?:\w+ )?(?:definitive|straightforward|clear|known) answer|impossible to (?:say|tell|know|determine)|"
    r"as an? (?:\w+ )?(?:language model|ai)\b)",
    re.IGNORECASE,
)
"""What gives no answer at all."""
DENIED_AFTER = re.compile(
    r"""^[\s*_`'"”’)\]$.]{0,4}(?:,\s*(?:which|that|who)\s+)?(?:\s?(?:is|are|was|were|would be|looks|seems|sounds)\s+
    (?:\w+ly\s+)?(?:not\b|wrong|incorrect|false|never|out\b|ruled out|impossible|a mistake|no longer)|
    \s?(?:is|was|are|were|would|ca|could|do|does|did)n['’]?t\b|\s?can(?:not|\snot)\b|
    \s?(?:would|will|could)\s(?:not|never)\b|\s?does\snot\b|\s?n['’]est\spas|\s?ist\s(?:es\s)?nicht|\s?no\ses\b|\s?non\sè\b|
    \s?(?:では|じゃ)(?:ありません|ない|なく)|(?:이|가|은|는)?\s?아니|\s?(?:是)?(?:不对|不正确|错|錯|不對))""",
    re.IGNORECASE | re.VERBOSE,
)
"""What, right after an answer, says that it is none."""
DENIED_BEFORE = re.compile(
    r"""(?:\b(?:used\sto\sbe|formerly|once\swas|not|never|isn['’]?t|aren['’]?t|wasn['’]?t|weren['’]?t|neither|nor|rather\sthan|instead\sof|no\slonger|
    unlike|except(?:\sfor)?|(?:can|could|would)(?:not|n['’]t|\snot)\sbe|rule[sd]?\sout|ruling\sout|eliminate[sd]?|exclude[sd]?|
    pas|nicht|kein(?:e|er|en)?|no\ses|non\sè|не)\b)
    [\s,:("'“‘*_`$\[]*(?:(?:to\sbe|be|option|choice|answer|letter|the|a|an|called|really|just|simply|exactly|in|at|
    option\s\(|\()\b[\s("'“‘*_`]*){0,3}\Z|(?:不是|不选|不選|而非|并非|並非|不会是|不會是)[\s"“(（]*(?:选项|選項)?\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""What, right before an answer, says that it is none."""


_STATES = re.compile(
    r"^[\s,:;.!-]*(?:i think |i believe |so |then )?(?:it(?:'s| is| was| should be| must be)|that(?:'s| is| would be)|"
    r"this is|the (?:\w+ )?(?:answer|"
    r"result|total|number) (?:is|should be|must be)|they are|make that|make it)\b(?! (?:correct|right|true|fine|ok|"
    r"wrong|important|good))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sentence:
    """A sentence, or a line, of an answer."""

    text: str
    """Without its final punctuation and without the head of a list item."""
    start: int
    """Where it begins in the text it was found in."""
    asks: bool
    """It ends in a question mark."""
    trails: bool = False
    """It breaks off in an ellipsis."""


@lru_cache(maxsize=512)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text, in order; empty ones are left out."""
    found: list[Sentence] = []
    start = 0
    for end in _END.finditer(text):
        if end[0].rstrip("\"'”’)]*_`$") == "." and _goes_on(text, start, end):
            continue
        _add(found, text[start : end.start()], start, end[0])
        start = end.end()
    _add(found, text[start:], start, "")
    if len(found) > MAX_SENTENCES:
        half = MAX_SENTENCES // 2
        found = [*found[:half], *found[-half:]]
    return tuple(found)


def _goes_on(text: str, start: int, stop: re.Match[str]) -> bool:
    """Whether a full stop stands after an abbreviation, and the sentence goes on."""
    before = text[max(start, stop.start() - 16) : stop.start()]
    if _ABBREVIATION.search(before):
        return bool(text[stop.end() :].strip())
    return _NUMBER_SIGN.search(before) is not None and text[stop.end() :].lstrip()[:1].isdigit()


def _add(found: list[Sentence], text: str, start: int, end: str) -> None:
    head = _LIST_HEAD.match(text)
    body = text[head.end() :] if head else text
    if _SAYS_SOMETHING.search(body):
        shift = len(text) - len(text.lstrip()) if head is None else head.end()
        found.append(Sentence(body.strip(), start + shift, "?" in end or "？" in end, end[:2] in ("..", "…")))


def concludes(text: str) -> bool:
    """Whether a sentence draws a conclusion: `So 18.`, `Thus she makes 18.`, `..., so, 18`."""
    return _CONCLUDES.match(text) is not None or ("," in text and _CONCLUDES_INSIDE.search(text) is not None)


def second_thought(text: str) -> str | None:
    """What a second thought after an answer says instead: `18. Actually, it is 20.`; None where it only checks."""
    for part in sentences(text):
        cue = DOUBTS.match(part.text)
        if cue is not None and not part.asks and _STATES.match(part.text[cue.end() :]):
            return text[part.start + cue.end() :].lstrip(" ,:;.!-—–")
    return None


def after_correction(text: str, *, answered: bool = False) -> tuple[str, bool]:
    """(what is left once everything that a correction takes back is off, whether there was a correction).

    A cue that nothing follows takes the answer back and gives none.

    Args:
        text: what is said.
        answered: an answer was given before; else a cue at the very beginning has nothing to take back.
    """
    last = None
    for match in CORRECTS.finditer(text):
        if answered or _SAYS_SOMETHING.search(text[: match.start()]):
            last = match
    if last is None:
        return text, False
    return text[last.end() :].lstrip(" ,:;.!-—–\n"), True
