r"""The phrases that announce an answer, in the languages that models answer in.

    The answer is 18.    **Final Answer:** 18    So the correct option would be (B).    La réponse est 18.    答案是18

Each phrase has a stem that is looked for first, because most texts hold none of them; what follows the stem decides.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

_IS = r"(?:is|are|was|would be|should be|must be|will be|has to be|equals|=|:|：|->|→|—|–|-(?=\s))"
_GAP = r"[\s*_`'\"]{0,6}"
_TO = r"(?:\s+(?:to|for|of|here|in)\b[^\n.:=?!]{0,80}?)?"
_PHRASES: dict[str, str] = {
    "answer": (
        rf"answer(?:\s+(?:choice|option|key))?{_TO}{_GAP}(?:,?\s*(?:then|therefore|thus|indeed)\s*,?)?{_GAP}{_IS}"
    ),
    "ans": rf"(?<![a-z])ans\.?{_GAP}(?:is|:|=)",
    "solution": rf"(?<=final )solution{_GAP}{_IS}|solution{_GAP}(?:is|:)(?=[ \t*_]*[^\s*_])",
    "result": rf"(?<=final )result{_GAP}{_IS}|(?<=end )result{_GAP}{_IS}",
    "conclusion": r"(?<=in )conclusion\s*[,:]",
    "antwort": rf"(?:antwort|lösung){_GAP}(?:ist|lautet|wäre|:|=)(?:\s+(?:also|daher|somit)\b)?",
    "lösung": rf"lösung{_GAP}(?:ist|lautet|:|=)",
    "ergebnis": rf"ergebnis{_GAP}(?:ist|lautet|beträgt|:|=)",
    "réponse": rf"réponse(?:\s+(?:finale|correcte|exacte|juste))?{_GAP}(?:est|serait|sera|:|=)(?:\s+donc\b)?",
    "reponse": rf"reponse(?:\s+(?:finale|correcte|exacte|juste))?{_GAP}(?:est|serait|:|=)",
    "respuesta": rf"respuesta(?:\s+(?:final|correcta|exacta))?{_GAP}(?:es|sería|será|:|=)",
    "solución": rf"solución{_GAP}(?:es|:|=)",
    "resultado": rf"resultado(?:\s+final)?{_GAP}(?:es|é|:|=)",
    "risposta": rf"risposta(?:\s+(?:finale|corretta|giusta|esatta))?{_GAP}(?:è|e'|sarebbe|:|=)",
    "resposta": rf"resposta(?:\s+(?:final|correta|certa))?{_GAP}(?:é|seria|:|=)",
    "antwoord": rf"antwoord{_GAP}(?:is|luidt|:|=)",
    "svar": rf"(?<![a-zåäöæø])svar(?:et)?{_GAP}(?:är|er|:|=|blir)",
    "vastaus": rf"vastaus{_GAP}(?:on|:|=)",
    "ответ": rf"(?<!\w)ответ(?:ом)?{_GAP}(?:является|это|будет|:|=|—|–|-(?=\s))(?:\s+это\b)?",
    "відповідь": rf"відповідь{_GAP}(?:є|це|:|=|—|–|-(?=\s))",
    "odpowied": rf"odpowied(?:ź|zią){_GAP}(?:to|brzmi|jest|:|=)(?:\s+to\b)?",
    "odpověď": rf"odpověď{_GAP}(?:je|zní|:|=)",
    "cevap": rf"(?:doğru\s+)?cevap{_GAP}(?::|=|şudur\s*:?)|cevap\s+(?=\S)",
    "đáp án": rf"đáp án(?:\s+(?:đúng|cuối cùng))?{_GAP}(?:là|:|=)",
    "câu trả lời": rf"câu trả lời(?:\s+(?:đúng|cuối cùng))?{_GAP}(?:là|:|=)",
    "jawaban": rf"jawaban(?:nya)?(?:\s+(?:akhir(?:nya)?|yang benar))?{_GAP}(?:adalah|ialah|:|=)",
    "απάντηση": rf"απάντηση{_GAP}(?:είναι|:|=)",
    "答案": rf"答案{_GAP}(?:是|为|為|选|選|应该是|應該是|就是|：|:|=)[：:]?",
    "答え": rf"答え{_GAP}(?:は|：|:|=)",
    "正解": rf"正解{_GAP}(?:は|：|:|=)",
    "解答": rf"解答{_GAP}(?:は|：|:|=|是|为)",
    "정답": rf"정답{_GAP}(?:은|는|：|:|=)",
    "답": rf"(?<![가-힣])답{_GAP}(?:은|：|:|=)",
    "उत्तर": rf"उत्तर{_GAP}(?:है|:|=|—|-(?=\s)|(?=\d))",
    "إجابة": rf"إجابة(?:\s+الصحيحة)?{_GAP}(?:هي|:|=)",
    "جواب": rf"جواب(?:\s+الصحيح)?{_GAP}(?:هو|:|=)",
    "תשובה": rf"תשובה(?:\s+(?:הנכונה|הסופית))?{_GAP}(?:היא|:|=)",
}
_COMPILED = {stem: re.compile(pattern, re.IGNORECASE) for stem, pattern in _PHRASES.items()}
_ASCII = tuple(stem for stem in _PHRASES if stem.isascii())
_OTHER = tuple(stem for stem in _PHRASES if not stem.isascii())
_HEADING = re.compile(
    r"^[ \t]*(?:[*_#]{1,6}[ \t]*)?(?:(?:the|my|final|correct|right)\s+){0,3}answer[ \t]*[*_]{0,3}[ \t]*\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_HYPOTHETICAL = re.compile(
    r"\b(?:if|whether|unless|suppose|assume|assuming|check(?:ing)? that|hint|maybe|perhaps|guess(?:ed)?|say|"
    r"wrong|incorrect|possible|previous|first|your|student'?s?|user'?s?)\s+(?:that\s+)?(?:the\s+|an\s+|my\s+)?"
    r"(?:final\s+|correct\s+|right\s+)?$",
    re.IGNORECASE,
)
_DECORATION = " \t*_`:：=-–—→>\r"
_NEXT_LINE = re.compile(r"[ \t]*\r?\n\s*")


def phrase_marks(text: str, most: int) -> Iterator[tuple[int, int, str]]:
    """Where a phrase announces an answer: (start of the phrase, end of what it announces, what it announces).

    Args:
        text: a final part.
        most: of each phrase only so many are told, the last ones: each may announce a line as long as the text.
    """
    folded = text.lower()
    if len(folded) != len(text):
        folded = "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
    stems = [stem for stem in _ASCII if stem in folded]
    if not text.isascii():
        stems += [stem for stem in _OTHER if stem in folded]
    for stem in stems:
        said = (match for match in _COMPILED[stem].finditer(folded) if not _is_hypothetical(folded, match.start()))
        for match in deque(said, most):
            yield _announced(text, match.start(), match.end())
    if "answer" in stems:
        for match in deque(_HEADING.finditer(text), most):
            yield _announced(text, match.start(), match.end())


def _is_hypothetical(text: str, start: int) -> bool:
    """Whether a phrase speaks of an answer that is not given: if the answer is 18; your answer is 18."""
    return _HYPOTHETICAL.search(text, max(0, start - 60), start) is not None


def _announced(text: str, start: int, end: int) -> tuple[int, int, str]:
    """What stands after the phrase: the rest of its line, or the next line that says something."""
    while end < len(text) and text[end] in _DECORATION and not (text[end] == "-" and text[end + 1 : end + 2].isdigit()):
        end += 1
    following = _NEXT_LINE.match(text, end)
    while following is not None:
        end = following.end()
        if text.startswith(("**", "__"), end):
            end += 2
        following = _NEXT_LINE.match(text, end)
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    return start, line_end, text[end:line_end].strip()
