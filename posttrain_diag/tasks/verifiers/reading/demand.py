r"""Which form a prompt demands of the answer: the answer alone, in a box, after a mark, in tags, as JSON; or none.

Answer with the number only.                    bare
Put your final answer in \boxed{}.              boxed
End with "#### " and the number.                hash
Finish with "The answer is (X)".                phrase
Write the result in <answer> tags.              tag
Reply only with a JSON object.                  json
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Form = Literal["bare", "boxed", "hash", "phrase", "tag", "json"]

MAX_CHARS = 8000
_SAY = (
    r"(?:answer|reply|respond|output|return|give|write|print|state|provide|say|name|type|"
    r"antworte?t?|gib|schreibe?|nenne|réponds|répondez|donne[zr]?|écris|responde|contesta|escribe|rispondi|scrivi|"
    r"responda|escreva|ответь\w*|отвечай\w*|напиши\w*)"
)
_ORDER = (
    r"(?:^|[.!?:;,(\n—–-][\"'”’)]*\s*|\b(?:please|and|then|bitte|por\sfavor|per\sfavore|"
    r"(?:you|answer|response|reply|output)\s(?:must|should|have\sto|need\sto|are\sto)|"
    r"(?:sure|asked|remember|instructed|required)\sto)\s+)"
)
"""Where an order begins: "Answer only" is one; "each answer only gives 3 points" and "Pat is to give only" are none."""
_THING = (
    r"(?:number|integer|digit|numeral|figure|value|letter|option|choice|word|name|city|country|year|date|answer|result|"
    r"symbol|color|colour|person|place|code|expression|label|category|list|term|title|zahl|buchstabe\w*|wort|nombre|"
    r"lettre|mot|número|letra|palabra|numero|lettera|parola|nome|название|число|букв\w+|слов\w+)"
)
_ALONE = (
    r"(?:only|just|alone|solely|exclusively|nothing\selse|nothing\sbut|exactly\sone\s(?:word|letter|number)|nur|"
    r"ausschließlich|uniquement|seulement|únicamente|solo|solamente|soltanto|apenas|somente|только|лишь)"
)
_BARE = re.compile(
    rf"""{_ORDER}{_SAY}\s+(?:(?:me|us|back|your\sanswer|the\sanswer|it|in|with|using|mit|par|avec|con|com)\s+){{0,2}}{_ALONE}\b
      | {_ORDER}{_SAY}\b[^.?!\n]{{0,80}}\b{_ALONE}\s*(?:[.!?;,:)]|$)
      | \b(?:only|just|nothing\sbut|nur)\s+(?:(?:with|output|give|write|return|reply|the|a|an|your|one|single|final|
      die|der|das|den)\s+)+
        (?:\w+\s+){{0,2}}{_THING}\b
      | \b{_THING}\s+(?:only|alone)\s*(?:[.!?;,:)]|$) | \bnothing\selse\b
      | \bno\s(?:other|extra|additional)\s(?:text|words?)\b
      | \b(?:no|without(?:\sany)?)\s(?:explanations?|reasoning)\b | \b(?:do\snot|don['’]t)\s(?:explain|show\syour\swork)
      | {_ORDER}{_SAY}\b[^.?!\n]{{0,80}}\b(?:no|without(?:\sany|\sshowing)?)\s(?:your\s)?
        (?:working|work|steps|comments?)\b
      | \b(?:answer|reply|respond|response|output|express|give|return|write|solution|result)\b[^.?!\n]{{0,60}}
        \b(?:(?:in|with|as|using)\s(?:a|one|exactly\sone)\s(?:single\s)?|(?:be|is)\s(?:a|one)\ssingle\s)
        (?:word|letter|number|integer|digit)\b
      | \bone[\s-]word\sanswer\b
      | {_ORDER}{_SAY}\b[^.?!\n]{{0,30}}\b(?:yes\sor\sno|yes/no|["'“]?yes["'”]?\sor\s["'“]?no["'”]?|true\sor\sfalse|
      ["'“]?true["'”]?\sor\s["'“]?false["'”]?|
        oui\sou\snon|ja\soder\snein|sí\so\sno)(?!,?\s(?:and|then|with|followed|before|,\sand)\b)
      | 只(?:需|要|回答|输出|給|给)|のみ(?:で|を)?(?:答え|回答)|만\s(?:답|대답)""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_BOXED = re.compile(r"\\f?boxed\b")
_HASH = re.compile(r"####(?!\s*[$-]?\d)|####[\s\S]*####")
"""Asked for, or shown in at least two worked examples; one number behind it is a number that stands in the prompt."""
_TAG = re.compile(r"<(answer|final_answer|final|solution|result|output)>", re.IGNORECASE)
_OWN_TAG = re.compile(r"<([A-Za-z_]\w{0,20})>\s*(?:\.{2,3}|…|your [^<]{0,30}|[A-Z_ ]{2,20}|the [^<]{0,30})?\s*</\1>")
_JSON = re.compile(r"\bJSON\b")
_PHRASE = re.compile(
    r"""\b(?:end|finish|conclude|close|last\sline|final\sline|format|form|begin|start|respond|reply|answer|write|give|put|state|output)\b
        [^\n]{0,100}?["'“‘`*]+\s?(?:so\s|therefore,?\s)?(?:the\s|my\s|final\s|correct\s)*(?:answer|solution|result)\b\s*(?:is\b|:)
      | ^\W{0,3}(?:final\s)?answer:\s*[$<\[({]""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)


@lru_cache(maxsize=4096)
def demanded_form(prompt: str) -> Form | None:
    """The form that a prompt asks the answer to be given in; None where it leaves the form open."""
    text = prompt[-MAX_CHARS:]
    if _JSON.search(text):
        return "json"
    if _BOXED.search(text):
        return "boxed"
    if _HASH.search(text):
        return "hash"
    if _TAG.search(text) or _OWN_TAG.search(text):
        return "tag"
    if _PHRASE.search(text):
        return "phrase"
    return "bare" if _BARE.search(text) else None


@lru_cache(maxsize=4096)
def demanded_tag(prompt: str) -> str | None:
    """The name of the tag that a prompt asks for: `a` of "Write the answer as <a>...</a>"."""
    found = _TAG.search(prompt) or _OWN_TAG.search(prompt)
    return found[1] if found else None


@lru_cache(maxsize=4096)
def demanded_lead(prompt: str) -> str | None:
    """The words with a colon that a prompt quotes for the answer: `answer:` of "End with a line 'answer: N'."."""
    found = _PHRASE.search(prompt[-MAX_CHARS:])
    if found is None or not found.group().rstrip().endswith(":"):
        return None
    quoted = re.search(r"[\"'“‘`*]+([^\"'“‘`*]+:)\s*$", found.group())
    return None if quoted is None else quoted[1].strip()
