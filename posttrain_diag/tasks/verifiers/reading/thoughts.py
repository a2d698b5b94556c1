r"""Where the thinking of a model ends, in the notations that models use.

    <think> ... </think>     <thinking>, <thought>, <reasoning>, <scratchpad>, <seed:think>, ...
    [THINK] ... [/THINK]     ◁think▷ ... ◁/think▷     <|START_THINKING|> ... <|END_THINKING|>
    <|channel|>analysis<|message|> ... <|channel|>final<|message|>
    analysis ... assistantfinal                         (the same, special tokens left out)
    ... </think>                                        (the opening tag stood in the prompt)

A tag in quotes or backticks is spoken of, not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAMES = (
    r"think|thinking|thinks|thought|thoughts|reasoning|reason|rationale|scratchpad|scratch_pad|inner_monologue|"
    r"inner_thoughts|internal_monologue|reflection|deliberation|analysis|seed:think|seed:cot_budget_reflect|"
    r"antml:thinking|work|chain_of_thought|cot"
)
_OPEN = (
    rf"<(?:{_NAMES})(?:\s[^<>\n]{{0,80}})?>|\[(?:THINK|THINKING|REASONING|THOUGHT)\]|◁think▷|"
    r"<\|(?:START_THINKING|begin_of_thought|thinking|think|thought_start|start_of_thought)\|>|<unused94>thought|"
    r"<\|channel>thought"
)
_CLOSE = (
    rf"</(?:{_NAMES})\s*>|\[/(?:THINK|THINKING|REASONING|THOUGHT)\]|◁/think▷|"
    r"<\|(?:END_THINKING|end_of_thought|/thinking|/think|thought_end)\|>|<unused95>|<channel\|>"
)
_TAG = re.compile(rf"(?:(?P<open>{_OPEN})|(?P<close>{_CLOSE}))", re.IGNORECASE)
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?P<name>\w+)[^<]{0,60}(?:<\|constrain\|>[^<]{0,60})?<\|message\|>"
)
_BARE_CHANNELS = re.compile(r"\s*analysis(?=[A-Z\s\"'])")
_OPEN_CHANNEL = re.compile(r"\s*analysis(?=[A-Z])")
_BARE_FINAL = re.compile(r"assistant\s?final")
_SECTIONS = (
    (re.compile(r"\s*Here is my thought process:", re.I), re.compile(r"Here is my response:\s*", re.I)),
    (re.compile(r"\s*Here are my reasoning steps:", re.I), re.compile(r"\[BEGIN FINAL RESPONSE\]\s*", re.I)),
)
"""Thinking that begins with a sentence instead of a tag (Granite, Apriel), and what ends it."""
_WRAPPER = re.compile(
    r"</?(?:response|output|final_response|reply)>|<\|(?:START_RESPONSE|END_RESPONSE|START_ACTION|END_ACTION|"
    r"begin_of_solution|end_of_solution)\|>|\[(?:BEGIN|END) FINAL RESPONSE\]",
    re.IGNORECASE,
)
_HINTS = ("<", "[", "◁", "analysis", "Here ", "here ")


@dataclass(frozen=True)
class Unthought:
    """A completion without its thinking."""

    text: str
    open: bool
    """The thinking never ended: there is no answer yet."""


def without_thoughts(completion: str) -> Unthought:
    """What a completion says after it has thought.

    That is what follows the last thought, or where nothing follows, what was said before it; nothing while a thought
    is still open.
    """
    if not any(hint in completion for hint in _HINTS):
        return Unthought(completion, False)
    by_channel = _from_channels(completion)
    if by_channel is not None:
        return by_channel
    for begin, end in _SECTIONS:
        if begin.match(completion):
            ends = list(end.finditer(completion))
            return Unthought(_unwrapped(completion[ends[-1].end() :]), False) if ends else Unthought("", True)
    return _from_tags(completion)


def _from_tags(completion: str) -> Unthought:
    tags = [tag for tag in _TAG.finditer(completion) if not _spoken_of(completion, tag)]
    if not tags:
        return Unthought(_unwrapped(completion), False)
    if tags[-1]["open"] is not None:
        return Unthought("", True)
    after = _unwrapped(completion[tags[-1].end() :])
    if after.strip():
        return Unthought(after, False)
    return Unthought(_unwrapped("".join(_outside(completion, tags))), False)


def _spoken_of(completion: str, tag: re.Match[str]) -> bool:
    """Whether a tag stands in quotes or backticks of its own; the quote before it may also end what was thought."""
    quote = completion[tag.start() - 1 : tag.start()]
    if not quote or quote not in "`'\"“‘«":
        return False
    if quote in "“‘«":
        return True
    line = completion[completion.rfind("\n", 0, tag.start()) + 1 : tag.start()]
    opens = len(re.findall(rf"(?<!\w){quote}|{quote}(?!\w)", line)) % 2 == 1
    return opens and completion.startswith(quote, tag.end())


def _outside(completion: str, tags: list[re.Match[str]]) -> Iterator[str]:
    """The pieces of a text that stand in no thought. What precedes a lone closing tag is a thought."""
    depth, start = 0, 0
    first_close = tags[0]["close"] is not None
    for i, tag in enumerate(tags):
        if tag["open"] is not None:
            if depth == 0:
                yield completion[start : tag.start()]
            depth += 1
        else:
            depth = 0 if (i == 0 and first_close) else max(0, depth - 1)
            start = tag.end()
    yield completion[start:]


def _from_channels(completion: str) -> Unthought | None:
    """The final channel of a Harmony answer; None where the completion has no channels."""
    channels = list(_CHANNEL.finditer(completion))
    if channels:
        final = [channel for channel in channels if channel["name"].lower() == "final"]
        return Unthought(completion[final[-1].end() :], False) if final else Unthought("", True)
    if _BARE_CHANNELS.match(completion):
        final = list(_BARE_FINAL.finditer(completion))
        if final:
            return Unthought(completion[final[-1].end() :], False)
        if _OPEN_CHANNEL.match(completion):
            return Unthought("", True)
    return None


def _unwrapped(text: str) -> str:
    """The text without the marks around a whole response."""
    return _WRAPPER.sub("", text) if "<" in text or "[" in text else text
