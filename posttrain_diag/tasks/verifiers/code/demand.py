"""The form that a prompt demands of code, and whether a completion keeps it."""

from __future__ import annotations

import re
import textwrap
from typing import Literal

from posttrain_diag.tasks.verifiers.code.blocks import blocks
from posttrain_diag.tasks.verifiers.code.syntax import parses

Demand = Literal["any", "code only", "bare", "fence"]
"""The form that is demanded. any: code in a fence, bare, and with prose around; code only: no prose; bare: no fence
either; fence: in a fence."""

_MARKDOWN = r"(?:mark-?down|(?:code[ -]?)?fences?|fenced|(?:triple )?back-?ticks?|code[ -]?blocks?|formatting|```)"
_NOT = r"(?:\b(?:no|without|avoid|omit|not (?:{verbs}))|n't (?:{verbs}))\b"
_NO_MARKDOWN = _NOT.replace("{verbs}", "use|include|add|wrap|put|enclose|surround|format")
_BARE = re.compile(
    rf"{_NO_MARKDOWN}[^.\n]{{0,60}}?{_MARKDOWN}|"
    r"\b(?:bare|raw|unformatted)\s+(?:python\s+)?(?:code|source|text|function|program)\b|\bplain (?:text|code)\b",
    re.IGNORECASE,
)
_THING = r"(?:code|functions?|body|implementation|program|solution|definition|completion|source|script|python)"
_WHICH = r"(?:(?:the|a|an|your|python|python3|completed?|valid|source|function|missing|executable|body|of|final)\s+)*"
_NO_PROSE = _NOT.replace("{verbs}", "include|add|give|write|provide")
_PROSE = (
    r"(?:(?:further|additional|extra|other|surrounding)\s+(?:text|words)|(?:(?:further|additional|extra|other)\s+)?"
    r"(?:explanations?|prose|commentary|explaining|introduction|discussion))"
)
_ONLY = re.compile(
    rf"\b(?:only|just|nothing (?:else )?(?:but|except))\s+(?:output\s+|return\s+|with\s+)?{_WHICH}{_THING}\b|"
    rf"\b{_THING}\s+(?:only|and nothing (?:else|more))\b|(?:{_NO_PROSE}|\bskip)(?:\s+(?:any|the))?\s+{_PROSE}\b|"
    r"\bnothing else\b|\bcomplete the (?:function )?body\b|\bcontinue the code\b",
    re.IGNORECASE,
)
_FENCE = re.compile(
    rf"\b(?:in|within|inside|into|using|as|with|between|by)\b[^.\n]{{0,40}}?(?:{_MARKDOWN})|"
    r"\b(?:enclose|wrap|put|place|delimit)\b[^`.?!]{0,80}?(?:as follows[.:]?\s*)?```",
    re.IGNORECASE,
)


_CLOSING_ONLY = re.compile(r"\A((?:(?!```).)*)\n```\s*\Z", re.DOTALL)
"""Matches code whose opening fence stood in the prompt."""


def demand_of(prompt: str) -> Demand:
    """The form that a prompt demands."""
    if _BARE.search(prompt) is not None:
        return "bare"
    if _FENCE.search(prompt) is not None:
        return "fence"
    return "code only" if _ONLY.search(prompt) is not None else "any"


def keeps(demand: Demand, text: str, prompt_code: str) -> bool:
    """Whether a completion that holds the right code has the form that is demanded of it.

    Args:
        demand: what the prompt asks for.
        text: the completion's final part.
        prompt_code: code that the completion may continue.
    """
    if demand == "any":
        return True
    if demand == "code only":
        text = _CLOSING_ONLY.sub(r"\1", text)
    found = blocks(text)
    fenced = any(block.fenced for block in found)
    if demand == "fence":
        return fenced
    if fenced:
        return demand == "code only" and not any(not block.fenced for block in found)
    return parses(textwrap.dedent(text)) or parses(prompt_code + text) or parses(prompt_code + "\n" + text)
