r"""Sets of numbers in their many forms: inequalities, memberships, intervals, the line without a point.

x \\le 3    (-\\infty, 3]        |x| < 2    -2 < x < 2    (-2, 2)        x \\ne 1    \\mathbb{R} \\setminus \\{1\\}
"""

from __future__ import annotations

from dataclasses import replace

from posttrain_diag.tasks.verifiers.math.answers import Answer, Group, Quantity, Relation, Union, Words
from posttrain_diag.tasks.verifiers.math.forms import is_name, joined, name_of, reversed_relation
from posttrain_diag.tasks.verifiers.math.tokens import tokens_of

_WHOLE_LINE = (("-\\infty", "\\infty"), ("-inf", "inf"), ("-infinity", "infinity"), ("-\\infty", "+\\infty"))


def in_words(answer: Answer) -> Answer:
    """The empty set and the whole line as words, a line without a point as intervals; other answers as they are."""
    if isinstance(answer, Union):
        return _as_intervals(answer)
    if not isinstance(answer, Group) or answer.opening not in ("\\{", "("):
        return answer
    if not answer.items:
        return Words("no solution") if answer.opening == "\\{" else answer
    whole = len(answer.items) == 2 and (_joined_end(answer, 0), _joined_end(answer, 1)) in _WHOLE_LINE
    return Words("all real numbers") if whole else answer


def set_of(relation: Relation) -> tuple[str, Answer] | None:
    """The name and the set of its values that an inequality or a membership states; None for other relations."""
    if relation.signs == ("\\in",) and is_name(relation.sides[0]):
        return name_of(relation.sides[0]), _as_intervals(relation.sides[1])
    if relation.signs == ("\\ne",) and is_name(relation.sides[0]):
        return name_of(relation.sides[0]), _without(relation.sides[1])
    turned = relation
    if relation.signs[0] in (">", "\\ge"):
        turned = reversed_relation(relation) or relation
    if not all(sign in ("<", "\\le") for sign in turned.signs):
        return None
    sides, signs = turned.sides, turned.signs
    match [is_name(side) for side in sides], [_inside_bars(side) for side in sides]:
        case [True, False], _:
            name, interval = sides[0], _interval("<", _MINUS_INFINITY, sides[1], signs[0])
        case [False, True], _:
            name, interval = sides[1], _interval(signs[0], sides[0], _INFINITY, "<")
        case [False, True, False], _:
            name, interval = sides[1], _interval(signs[0], sides[0], sides[2], signs[1])
        case _, [Quantity() as name, None]:
            interval = _interval(signs[0], _negated(sides[1]), sides[1], signs[0])
        case _, [None, Quantity() as name]:
            left = _interval("<", _MINUS_INFINITY, _negated(sides[0]), signs[0])
            interval = Union("\\cup", (left, _interval(signs[0], sides[0], _INFINITY, "<")))
        case _:
            return None
    return name_of(name), interval


_INFINITY, _MINUS_INFINITY = (Quantity(tokens_of(text)) for text in ("\\infty", "-\\infty"))


def _interval(below: str, low: Answer, high: Answer, above: str) -> Group:
    return Group("(" if below == "<" else "[", (low, high), ")" if above == "<" else "]")


def _without(value: Answer) -> Union:
    """The line of all numbers without one number."""
    return Union("\\cup", (_interval("<", _MINUS_INFINITY, value, "<"), _interval("<", value, _INFINITY, "<")))


def _as_intervals(answer: Answer) -> Answer:
    r"""`\mathbb{R} \setminus \{1\}` as a union of intervals; every other answer as it is."""
    if not isinstance(answer, Union) or answer.sign != "\\setminus" or answer.parts[0] != Words("all real numbers"):
        return answer
    taken = answer.parts[1]
    return _without(taken.items[0]) if isinstance(taken, Group) and len(taken.items) == 1 else answer


def _inside_bars(side: Answer) -> Quantity | None:
    """The name between the bars of `|x|`."""
    if not isinstance(side, Quantity) or len(side.tokens) != 3 or not side.tokens[0].is_sign("|"):
        return None
    inner = Quantity(side.tokens[1:2])
    return inner if side.tokens[2].is_sign("|") and is_name(inner) else None


def _negated(answer: Answer) -> Answer:
    if not isinstance(answer, Quantity):
        return answer
    return replace(answer, tokens=(*tokens_of("-("), *answer.tokens, *tokens_of(")")))


def as_union(group: Group) -> Answer | None:
    """`x < 2 or x > 3` as a union, `x > 2 and x < 5` as an interval; None for other lists."""
    found = [set_of(item) if isinstance(item, Relation) else None for item in group.items]
    named = [pair for pair in found if pair is not None]
    if len(named) < len(found) or len({name for name, _ in named}) != 1 or not group.joined:
        return None
    sets = tuple(part for _, part in named)
    if group.joined == "or":
        return Union("\\cup", sets)
    if len(sets) != 2 or not all(isinstance(part, Group) for part in sets):
        return None
    first, second = (part for part in sets if isinstance(part, Group))
    if _joined_end(first, 0) == "-\\infty":
        first, second = second, first
    return Group(first.opening, (first.items[0], second.items[1]), second.closing)


def _joined_end(group: Group, end: int) -> str:
    item = group.items[end]
    return joined(item.tokens) if isinstance(item, Quantity) else ""
