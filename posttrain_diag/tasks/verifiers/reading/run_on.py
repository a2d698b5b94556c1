r"""Where an answer ends: a base model goes on with the next question, or writes turn markers as text.

    18\n\nQuestion: A box holds ...        18\nUser: and 8 + 5?        18<|im_end|>\n<|im_start|>user ...

A label at the very beginning restates the question; the next one begins another.
"""

from __future__ import annotations

import re

_TOKENS = re.compile(
    r"<\|(?:im_end|im_start|endoftext|eot_id|eom_id|end_of_text|begin_of_text|start_header_id|end|user|system|eos|"
    r"return|start|call|endofprompt|end_of_turn|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|end_of_sentence)\|>|"
    r"<[|｜](?:User|Assistant|end▁of▁sentence|begin▁of▁sentence)[|｜]>|<(?:end_of_turn|start_of_turn|eos|bos|pad)>|"
    r"</?s>|<turn\|>|<\|turn>|\[/?INST\]|\[/?SYS\]|<</?SYS>>|\[EOS\]|<end_of_utterance>"
)
_LEADING = re.compile(
    r"\s*(?:<\|im_start\|>\s*assistant\s*|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>\s*|"
    r"<start_of_turn>\s*model\s*|<\|assistant\|>\s*|<[|｜]Assistant[|｜]>\s*|\[/INST\]\s*|<s>\s*|"
    r"(?:Assistant|AI|ASSISTANT)\s*:\s*)+"
)
"""The head of the model's own turn, repeated as text."""
_QUESTION = (
    r"(?:(?:next|new|another|practice)\s)?(?:question|q|frage|pregunta|pergunta|domanda|vraag|fråga|spørgsmål|вопрос|"
    r"питання|pytanie|otázka|soru|câu\shỏi|pertanyaan|问题|問題|問い|问|問|질문|문제|प्रश्न|سؤال|السؤال)"
)
_TASK = (
    r"(?:(?:next|new|another|practice)\s)?(?:problem|exercise|task|query|instruction|riddle|aufgabe|exercice|problème|"
    r"ejercicio|problema|задача|zadanie|题目|題目)"
)
_LINE = re.compile(
    rf"""^[ \t>*_\#\-]{{0,8}}(?:
        {_QUESTION}\s*[*_]{{0,3}}\s*[:：]
      | (?:{_QUESTION}|{_TASK})\s?\#?\d{{1,3}}\s*[*_]{{0,3}}\s*[:：.)]
      | (?<=\n\n){_TASK}\s*[*_]{{0,3}}\s*[:：]
      | (?:user|human|student|utilisateur|usuario|benutzer|nutzer)\s*[*_]{{0,3}}\s*[:：]
      | system\s*:(?=\s*you\b)
      | (?<=\#\ )(?:instructions?|question|input|user|human|problem|prompt|task)\b
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)", re.MULTILINE)


def before_next_turn(text: str) -> str:
    """The text up to a token that ends a turn or begins another one."""
    head = _LEADING.match(text)
    text = text[head.end() :] if head else text
    if "<" in text or "[" in text:
        token = next((m for m in _TOKENS.finditer(text) if text[: m.start()].strip()), None)
        text = text[: token.start()] if token else _TOKENS.sub("", text)
    return text


def before_next_question(text: str) -> str:
    """The text up to where another question or another speaker's turn begins."""
    text = before_next_turn(text)
    if "\n" not in text:
        return text
    fences = [match.start() for match in _FENCE.finditer(text)]
    for match in _LINE.finditer(text):
        inside = sum(start < match.start() for start in fences) % 2 == 1
        if text[: match.start()].strip(" \t\n*_#->") and not inside:
            return text[: match.start()]
    return text
