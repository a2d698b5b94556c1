r"""Whether two answers are the same answer.

    equal values are equal          \frac{14}{3} = 14/3      1 \pm \sqrt{19} = 1+\sqrt{19}, 1-\sqrt{19}
    another form is another answer  (3, 4] for [3, 4)        x < 3 for x \le 3     (1, -2) for the list 1, -2
    what is left out is forgiven    864 for 864 in^3         5 for x = 5           52 for 52_8
    what contradicts is not         864 ft^3 for 864 in^3    y = 5 for x = 5       52_9 for 52_8

The verdict has three values. `None` says that the spelling leaves the answer open, or that nothing here can reckon it;
then `why` tells what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from posttrain_diag.tasks.verifiers.math import forms, sets, values
from posttrain_diag.tasks.verifiers.math.answers import Answer, Based, Group, Matrix, Quantity, Relation, Union, Words
from posttrain_diag.tasks.verifiers.math.context import Context
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable, rendered, tokens_of
from posttrain_diag.tasks.verifiers.math.units import DEGREE, PERCENT, RADIAN, Unit, unit_of

MAX_ITEMS = 60
"""Lists with more items are compared in order only."""
MAX_PRODUCT = 2
"""Longer runs of letters are products only where they are variables of the question: `xy` is `yx`."""


@dataclass(frozen=True)
class Sameness:
    """Whether an answer is the gold one; `same` is None where that cannot be said."""

    same: bool | None
    why: str = ""
    """What could not be decided, where `same` is None."""


_SAME_DEGREES = ({DEGREE, unit_of("°C")}, {DEGREE, unit_of("°F")})
YES, NO = Sameness(True), Sameness(False)
Decide = Callable[[str, str], Sameness]
"""Judges two formulas that cannot be compared here; called with (gold, answer) as LaTeX."""


@dataclass(frozen=True)
class AnswerComparison:
    """Compares answers to one question."""

    context: Context
    decide: Decide

    def same(self, gold: Answer, answer: Answer) -> Sameness:
        """Whether an answer is the gold one."""
        gold, answer = sets.in_words(gold), sets.in_words(answer)
        if gold == answer:
            return YES
        if isinstance(gold, Relation) or isinstance(answer, Relation):
            return self._relations(gold, answer)
        if isinstance(gold, Based) or isinstance(answer, Based):
            return self._based(gold, answer)
        if isinstance(gold, Words) or isinstance(answer, Words):
            return self._words(gold, answer)
        if isinstance(gold, Matrix):
            return self._matrix(gold, answer)
        if isinstance(gold, Quantity):
            return self._quantity(gold, answer)
        if isinstance(gold, Union):
            return self._union(gold, answer)
        return self._group(gold, answer)

    def _quantity(self, gold: Quantity, answer: Answer) -> Sameness:
        if isinstance(answer, Quantity):
            return self._quantities(gold, answer)
        return self._single(gold, answer) if isinstance(answer, Group) else NO

    def _union(self, gold: Union, answer: Answer) -> Sameness:
        given = sets.as_union(answer) if isinstance(answer, Group) else answer
        if not isinstance(given, Union) or given.sign != gold.sign:
            return NO
        return self._items(gold.parts, given.parts, ordered=gold.sign == "\\setminus")

    def _group(self, gold: Group, answer: Answer) -> Sameness:
        if isinstance(answer, Group):
            return self._groups(gold, answer)
        if isinstance(answer, Union):
            joined = sets.as_union(gold)
            return NO if joined is None else self.same(joined, answer)
        if not isinstance(answer, Quantity):
            return NO
        if len(gold.items) == 1 and gold.opening in ("", "\\{"):
            return self.same(gold.items[0], answer)
        total = forms.total(gold)
        return NO if total is None else self._quantities(total, answer)

    # quantities

    def _quantities(self, gold: Quantity, answer: Quantity) -> Sameness:
        if forms.is_choice(gold) and (option := forms.option_named(answer)) is not None:
            return Sameness(gold.tokens[0].text == option)
        if gold.unit == answer.unit:
            return self._values(gold.tokens, answer.tokens)
        if PERCENT in (gold.unit, answer.unit):
            return self._percent(gold, answer)
        if answer.unit is None:
            return self._unit_left_out(gold, answer)
        asked = self.context.asks_for(answer.unit) if gold.unit is None else gold.unit
        if asked is None and answer.unit == DEGREE and any(t.text == "\\pi" for t in gold.tokens):
            asked = RADIAN
        if asked is None:
            return self._values(gold.tokens, answer.tokens)
        return self._in_unit(gold, answer, asked)

    def _unit_left_out(self, gold: Quantity, answer: Quantity) -> Sameness:
        found = self._values(gold.tokens, answer.tokens)
        if found.same is False and gold.unit == DEGREE and any(t.text == "\\pi" for t in answer.tokens):
            return self._in_unit(gold, Quantity(answer.tokens, RADIAN), DEGREE)
        return found

    def _in_unit(self, gold: Quantity, answer: Quantity, unit: Unit) -> Sameness:
        """Compare with a gold that is in this unit, stated or asked for."""
        assert answer.unit is not None
        if unit == answer.unit or {unit, answer.unit} in _SAME_DEGREES:
            return self._values(gold.tokens, answer.tokens)
        if not unit.known and not answer.unit.known:
            words, others = set(unit.name.split()), set(answer.unit.name.split())
            return self._values(gold.tokens, answer.tokens) if words <= others or others <= words else NO
        if self.context.asks_for(unit) == unit:
            return NO  # asked in km, answered in m
        if (unit, answer.unit) == (DEGREE, RADIAN):
            return self._values(gold.tokens, forms.multiplied(r"\frac{180}{\pi}", answer.tokens))
        if (unit, answer.unit) == (RADIAN, DEGREE):
            return self._values(gold.tokens, forms.multiplied(r"\frac{\pi}{180}", answer.tokens))
        factor = answer.unit.in_units_of(unit)
        return NO if factor is None else self._values(gold.tokens, forms.times(answer.tokens, factor))

    def _percent(self, gold: Quantity, answer: Quantity) -> Sameness:
        """Answers `25` and `0.25` for 25%; `25%` for 0.25, and for 25 where the question asks for percent."""
        if gold.unit not in (None, PERCENT) or answer.unit not in (None, PERCENT):
            return NO
        hundredth = Fraction(1, 100)
        if gold.unit is not None:
            plain = self._values(gold.tokens, answer.tokens)
            return (
                plain if plain.same is not False else self._values(forms.times(gold.tokens, hundredth), answer.tokens)
            )
        by_value = self._values(gold.tokens, forms.times(answer.tokens, hundredth))
        if not self.context.percent:
            return by_value
        plain = self._values(gold.tokens, answer.tokens)
        return plain if plain.same is not False or (forms.value_of(gold.tokens) or 0) > 1 else by_value

    def _values(self, gold: tuple[Token, ...], answer: tuple[Token, ...]) -> Sameness:
        if [t.text for t in gold] == [t.text for t in answer]:
            return YES
        try:
            found = values.equal(gold, answer)
        except Unreadable:
            return self._unknown_formula(gold, answer)
        if found is None:
            return Sameness(None, f"{_cut(gold)} and {_cut(answer)}: one can be read in two ways, or is too large")
        return Sameness(found)

    def _unknown_formula(self, gold: tuple[Token, ...], answer: tuple[Token, ...]) -> Sameness:
        if any(t.value is None for t in (*gold, *answer) if t.kind == "number"):
            return Sameness(None, f"{_cut(gold)} and {_cut(answer)}: one has a number whose digits go on unknown")
        if not forms.has_unknown_command(gold) and not forms.has_unknown_command(answer):
            # What is no formula at all ("1 2", "3 apples or so") is not the gold one; a gold like that is no gold.
            return NO if values.is_readable(gold) else Sameness(None, f"the gold {_cut(gold)} is no formula")
        found = self.decide(rendered(gold), rendered(answer))
        letters, others = forms.letters(gold), forms.letters(answer)
        if found.same and letters != others and {x.lower() for x in letters} == {x.lower() for x in others}:
            return Sameness(None, f"math-verify takes {_cut(answer)} for the gold, but it does not tell r from R")
        return found

    # words, bases

    def _words(self, gold: Answer, answer: Answer) -> Sameness:
        a, b = forms.as_text(gold), forms.as_text(answer)
        if a is None or b is None:
            return NO
        if forms.folded(a) == forms.folded(b):
            return YES
        product = sorted(a) == sorted(b) and (len(a) <= MAX_PRODUCT or set(a) <= self.context.variables)
        return self._values(tokens_of(a), tokens_of(b)) if product else NO

    def _based(self, gold: Answer, answer: Answer) -> Sameness:
        if isinstance(gold, Based) and isinstance(answer, Based):
            return NO
        based, other = (gold, answer) if isinstance(gold, Based) else (answer, gold)
        assert isinstance(based, Based)
        digits = forms.digits(other)
        if digits is None:
            return NO
        if based is gold or based.base in (self.context.base, 10):
            return Sameness(digits == based.digits)
        if self.context.base is None and digits in (based.digits, str(int(based.digits, based.base))):
            return Sameness(None, f"the gold {digits} names no base, the answer has the base {based.base}")
        return NO

    # relations

    def _relations(self, gold: Answer, answer: Answer) -> Sameness:
        if isinstance(gold, Relation) and isinstance(answer, Relation):
            return self._two_relations(forms.exact_part(gold), forms.exact_part(answer))
        relation, other = (gold, answer) if isinstance(gold, Relation) else (answer, gold)
        assert isinstance(relation, Relation)
        if set(relation.signs) <= forms.EQUALITIES:
            relation = forms.exact_part(relation)
            return self._gold_named(relation, other) if gold is not other else self._answer_named(other, relation)
        if isinstance(gold, Group) and not gold.opening and self.context.ordered and len(set(relation.signs)) == 1:
            return self._items(gold.items, relation.sides, ordered=True)  # "1/4 < 1/3 < 1/2"
        stated = sets.set_of(relation)
        if stated is None:
            return NO
        return self.same(stated[1], other) if gold is not other else self.same(other, stated[1])

    def _gold_named(self, gold: Relation, answer: Answer) -> Sameness:
        """An answer such as 5 for the gold `x = 5`; an equation of its own (`5x - 7y = 4`) has no value."""
        if len(gold.sides) != 2:
            return NO
        left, right = gold.sides
        if forms.is_name(left):
            return self.same(right, answer)
        return self.same(left, answer) if forms.is_name(right) else NO

    def _answer_named(self, gold: Answer, answer: Relation) -> Sameness:
        """An answer such as `x = 5` for the gold 5: what a name is given, or what a computation ends in."""
        first, last = answer.sides[0], answer.sides[-1]
        if len(answer.sides) == 1 or (forms.is_name(last) and not forms.is_name(first)):
            return self.same(gold, first)
        computes = isinstance(first, Quantity) and forms.value_of(first.tokens) is not None
        if len(answer.sides) == 2 and (computes or forms.is_unsolved(first)):
            computed = self.same(first, last)
            if computed.same is not True:
                return computed
        elif forms.is_unsolved(first) and len(answer.sides) == 1:
            return NO
        return self.same(gold, last)

    def _two_relations(self, gold: Relation, answer: Relation) -> Sameness:
        if not gold.signs or not answer.signs:
            return self.same(gold.sides[0] if not gold.signs else gold, answer.sides[0] if not answer.signs else answer)
        if {*gold.signs, *answer.signs} == {"="}:
            return self._two_equations(gold, answer)
        first, second = sets.set_of(gold), sets.set_of(answer)
        if first is not None and second is not None:
            return self.same(first[1], second[1]) if first[0] == second[0] else NO
        for other in (answer, forms.reversed_relation(answer)):
            if other is None or other.signs != gold.signs:
                continue
            found = _all(self.same(g, a) for g, a in zip(gold.sides, other.sides, strict=True))
            if found.same is False and len(gold.signs) == 1 and gold.signs[0] in forms.FLIPPED:
                found = self._proportional(gold, other, positive=gold.signs[0] not in ("=", "\\ne"))
            if found.same is not False:
                return found
        return NO

    def _two_equations(self, gold: Relation, answer: Relation) -> Sameness:
        named = forms.is_name(gold.sides[0]) and forms.is_name(answer.sides[0])
        if named and forms.same_name(gold.sides[0], answer.sides[0]):
            found = self.same(gold.sides[-1], answer.sides[-1])
            if found.same is not False:
                return found
        if len(gold.sides) != 2 or len(answer.sides) != 2:
            return NO
        return self._proportional(gold, answer)

    def _proportional(self, gold: Relation, answer: Relation, *, positive: bool = False) -> Sameness:
        """Whether the differences of the sides are the same but for a factor: the same line, the same half-plane."""
        sides = [side for side in (*gold.sides, *answer.sides) if isinstance(side, Quantity) and side.unit is None]
        if len(sides) != 4:
            return NO
        a, b, c, d = (side.tokens for side in sides)
        try:
            found = values.proportional((a, b), (c, d), positive=positive)
        except Unreadable:
            if not any(map(forms.has_unknown_command, (a, b, c, d))):
                return NO
            sign = gold.signs[0]
            return self.decide(f"{rendered(a)} {sign} {rendered(b)}", f"{rendered(c)} {sign} {rendered(d)}")
        return Sameness(found, "" if found is not None else f"the equations with {_cut(a)} and {_cut(c)} have no value")

    # groups

    def _groups(self, gold: Group, answer: Group) -> Sameness:
        a, b = forms.kind(gold), forms.kind(answer)
        if a == b or {a, b} == {"()", "vector"}:
            unordered = a == "set" or (a == "list" and not self.context.ordered)
            return self._items(gold.items, answer.items, ordered=not unordered)
        if "list" not in (a, b):
            return NO
        joined = sets.as_union(answer if b == "list" else gold)
        if joined is not None:
            return self.same(gold, joined) if b == "list" else self.same(joined, answer)
        if "set" in (a, b):
            return self._items(gold.items, answer.items, ordered=False)
        if "[]" in (a, b):
            if len(gold.items) == 2:
                return NO  # two numbers in square brackets are an interval
            return self._items(gold.items, answer.items, ordered=True)
        # "x = 2, y = 3" names the coordinates of a point, and a point may lose its brackets. But brackets around what
        # the gold lists make a point or an interval of it.
        bare = answer if b == "list" else gold
        named = forms.by_name(bare)
        if named is None and bare is gold:
            return NO
        coordinates = bare.items if named is None else named
        pair = (gold.items, coordinates) if bare is answer else (coordinates, answer.items)
        return self._items(*pair, ordered=True) if "(]" not in (a, b) and "[)" not in (a, b) else NO

    def _single(self, gold: Quantity, answer: Group) -> Sameness:
        """A list as an answer for one value: a list of one, or of the same value twice ("x = 5 or 5.0").

        "2 and 1/2" is a mixed number.
        """
        if answer.opening not in ("", "\\{") or not answer.items:
            return NO
        if len(answer.items) == 1:
            return self.same(gold, answer.items[0])
        total = forms.total(answer)
        if total is not None:
            return self._quantities(gold, total)
        parts = [item for item in answer.items if isinstance(item, Quantity)]
        if forms.is_decimal_comma(answer) and self._values(gold.tokens, tokens_of(_with_point(parts))).same:
            return Sameness(None, f"{_cut(parts[0].tokens)},{_cut(parts[1].tokens)}: two numbers, or one with a comma")
        if answer.joined != "and" or len(answer.items) != 2 or len(parts) != 2 or not forms.is_whole(parts[0].tokens):
            return NO
        fraction = forms.value_of(parts[1].tokens)
        if fraction is None or not 0 < fraction < 1:
            return NO
        both = (*parts[0].tokens, *tokens_of("+"), *parts[1].tokens)
        return self._quantities(gold, Quantity(both, parts[1].unit))

    def _items(self, gold: Sequence[Answer], answer: Sequence[Answer], *, ordered: bool) -> Sameness:
        if len(gold) != len(answer):
            return NO
        if ordered or len(gold) > MAX_ITEMS:
            return _all(self.same(g, a) for g, a in zip(gold, answer, strict=True))
        rest = list(answer)
        open_question: Sameness | None = None
        for item in gold:
            found = [self.same(item, other) for other in rest]
            hit = next((i for i, verdict in enumerate(found) if verdict.same), None)
            if hit is not None:
                del rest[hit]
                continue
            open_question = next((v for v in found if v.same is None), None)
            if open_question is None:
                return NO
        return YES if not rest else (open_question or NO)

    def _matrix(self, gold: Matrix, answer: Answer) -> Sameness:
        if isinstance(answer, Group):
            found = forms.as_matrix(answer, columns=len(gold.rows[0]) if gold.rows else 0)
            return NO if found is None else self._matrix(gold, found)
        if not isinstance(answer, Matrix):
            return NO
        if ("v" in (gold.delimiters, answer.delimiters)) and gold.delimiters != answer.delimiters:
            return NO  # a determinant is a number
        if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
            return NO
        pairs = zip(gold.rows, answer.rows, strict=True)
        return _all(self.same(g, a) for first, second in pairs for g, a in zip(first, second, strict=True))


def _all(verdicts: Iterable[Sameness]) -> Sameness:
    """The verdict that every one of several holds; one that fails decides, whatever is open."""
    open_question: Sameness | None = None
    for verdict in verdicts:
        if verdict.same is False:
            return NO
        if verdict.same is None:
            open_question = open_question or verdict
    return open_question or YES


def _with_point(parts: Sequence[Quantity]) -> str:
    return ".".join(rendered(part.tokens) for part in parts)


def _cut(tokens: Sequence[Token]) -> str:
    text = rendered(tokens)
    return text if len(text) <= 60 else text[:57] + "..."
