r"""Scalar expressions: from tokens to a tree.

    2\frac12   the mixed number, not a product          \frac12, \frac1{2}, \sqrt3   as TeX takes them apart
    1/2x       (1/2)x or 1/(2x)                         \log 8                       to the base 10 or e

What can be read in two ways is named (`Expression.doubts`); the caller asks for one way of each. Commands that are not
known here (\int, \sum, ...) make an expression unreadable: those are left to math-verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from posttrain_diag.tasks.verifiers.math.nodes import (
    CLOSING,
    FUNCTIONS,
    GREEK,
    INVERSE,
    NAMED,
    PRODUCT,
    QUOTIENT,
    SAME_FUNCTIONS,
    Apply,
    Node,
    Number,
    Symbol,
    is_name,
)
from posttrain_diag.tasks.verifiers.math.tokens import Token, Unreadable, tokens_of

Doubt = Literal["slash", "log", "mixed", "scientific", "root"]
r"""What can be read in two ways. slash: `1/2x`; log: without base; mixed: an improper fraction after a whole number;
scientific: `2e-3`; root: `\sqrt12`, which TeX takes for the root of 1."""
MAX_DEPTH = 60
MAX_TOKENS = 600
MAX_WORD_PRODUCT = 4
"""A longer run of letters is a word, not a product of variables."""


@dataclass(frozen=True)
class Expression:
    """An expression read in one way."""

    node: Node
    doubts: frozenset[Doubt] = field(default_factory=frozenset)
    """The spellings in it that could have been read in another way."""


def parse(tokens: Sequence[Token], other: frozenset[Doubt] = frozenset()) -> Expression:
    """Read tokens as one scalar expression.

    Args:
        tokens: the tokens, all of which must be used.
        other: the doubts to be decided in the less usual way.

    Raises:
        Unreadable: they are no expression that is known here.
    """
    if len(tokens) > MAX_TOKENS:
        raise Unreadable("it is too long")
    parser = _Parser(_without_doubt(tokens, other), other)
    parser.doubts |= {"scientific"} if any("doubtful" in token.flags for token in tokens) else set()
    node = parser.whole()
    if parser.rest:
        raise Unreadable(f"{parser.rest[0].text!r} was not expected")
    return Expression(node, frozenset(parser.doubts))


def _without_doubt(tokens: Sequence[Token], other: frozenset[Doubt]) -> list[Token]:
    """With "scientific" among the doubts, `2e-3` is cut into the difference 2e - 3."""
    found: list[Token] = []
    for token in tokens:
        if "doubtful" in token.flags and "scientific" in other:
            mantissa, sign, power = token.text.replace("e-", "|-|").replace("e+", "|+|").split("|")
            found += tokens_of(f"{mantissa}e {sign}{power}")
        else:
            found.append(token)
    return found


def _begins(name: str) -> bool:
    """Whether a factor can begin with this command."""
    return name in ("frac", "sqrt", "binom", "imath", "lfloor", "lceil") or is_name(name) or name in NAMED


class _Parser:
    """Parses by recursive descent: a sum holds products, a product factors, a factor atoms.

    A method raises Unreadable where the tokens that come next are not what it reads.
    """

    def __init__(self, tokens: list[Token], other: frozenset[Doubt]) -> None:
        self.rest = tokens
        self.other = other
        self.doubts: set[Doubt] = set()
        self.depth = 0

    def next(self) -> Token | None:
        """The token that comes next, which is left where it is; None at the end."""
        return self.rest[0] if self.rest else None

    def take(self) -> Token:
        """Take the token that comes next."""
        if not self.rest:
            raise Unreadable("it ends too soon")
        return self.rest.pop(0)

    def at(self, *signs: str) -> bool:
        """Whether the token that comes next is one of these signs or commands."""
        return bool(self.rest) and self.rest[0].is_sign(*signs)

    def whole(self) -> Node:
        r"""A sum, or two of them around `\\over` or `\\choose`, which divide all that stands in their group."""
        node = self.sum()
        if self.at("\\over", "\\choose"):
            name = "divide" if self.take().text == "\\over" else "binomial"
            return Apply(name, (node, self.sum()))
        return node

    def sum(self) -> Node:
        """Read terms with plus and minus signs between them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("it is nested too deeply")
        terms = [self.signed(self.product)]
        while self.at("+", "-"):
            sign = self.take().text
            term = self.signed(self.product)
            terms.append(term if sign == "+" else Apply("negate", (term,)))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Apply("add", tuple(terms))

    def signed(self, operand: Callable[[], Node]) -> Node:
        """Read an operand behind any number of plus and minus signs."""
        negative = False
        while self.at("+", "-"):
            negative ^= self.take().text == "-"
        node = operand()
        return Apply("negate", (node,)) if negative else node

    def product(self) -> Node:
        """Read factors with signs of multiplication or division between them, or none."""
        node = self.factor()
        divided = False
        while self.rest:
            if self.at(*PRODUCT):
                self.take()
                node = Apply("multiply", (node, self.signed(self.factor)))
            elif self.at(*QUOTIENT):
                self.take()
                divided = True
                node = Apply("divide", (node, self.denominator()))
            elif self.begins_factor(after=node):
                if divided:
                    self.doubts.add("slash")
                node = self.beside(node)
            else:
                break
        return node

    def denominator(self) -> Node:
        """What a slash divides by: one factor, or in the other reading all that is written beside it."""
        node = self.signed(self.factor)
        while self.begins_factor(after=node):
            self.doubts.add("slash")
            if "slash" not in self.other:
                break
            node = self.beside(node)
        return node

    def beside(self, node: Node) -> Node:
        """A factor written beside another without a sign: a product, or the fraction of a mixed number."""
        spaced = self.rest[0].spaced
        whole = isinstance(node, Number) and node.value.denominator == 1 and not node.decimal
        fraction = self.plain_fraction() if whole else None
        if fraction is None:
            if isinstance(node, Number) and self.rest[0].kind == "number":
                raise Unreadable("two numbers stand side by side")
            return Apply("multiply", (node, self.factor()))
        assert isinstance(node, Number)
        if fraction.value >= 1 or node.value == 0:
            if not self.last_was_latex and not spaced:
                raise Unreadable("two numbers stand side by side")
            self.doubts.add("mixed")
            if "mixed" not in self.other:
                return Apply("multiply", (node, fraction))
        return Number(node.value + fraction.value)

    last_was_latex = False

    def plain_fraction(self) -> Number | None:
        r"""Take the fraction of whole numbers that comes next, `\frac{1}{2}` or `1/2`; None for anything else."""
        before = list(self.rest)
        self.last_was_latex = self.at("\\frac")
        if self.last_was_latex:
            self.take()
            top, bottom = self.argument(), self.argument()
        elif self.rest[0].kind == "number" and self.rest[0].spaced and len(self.rest) > 2 and self.rest[1].text == "/":
            top, _, bottom = self.atom(), self.take(), self.atom()
        else:
            return None
        if isinstance(top, Number) and isinstance(bottom, Number) and not self.at("^", "!", "_"):
            plain = all(n.value.denominator == 1 and not n.decimal for n in (top, bottom))
            if plain and bottom.value > 0 and top.value > 0:
                return Number(top.value / bottom.value)
        self.rest = before
        return None

    def begins_factor(self, after: Node) -> bool:
        """Whether the token that comes next begins a factor that stands beside `after` without a sign."""
        token = self.next()
        if token is None:
            return False
        if token.kind == "number":
            if isinstance(after, Number) or (isinstance(after, Apply) and after.name == "factorial"):
                return True
            raise Unreadable("a number stands behind what it should stand before")
        if token.kind in ("word", "text"):
            return True
        return (token.text in ("(", "[", "{", "\\{", "\\lfloor", "\\lceil", "|") and not self.closes_bar(token)) or (
            token.kind == "command" and token.text not in (*PRODUCT, *QUOTIENT) and _begins(token.text[1:])
        )

    bars = 0

    def closes_bar(self, token: Token) -> bool:
        """Whether the token is the second bar of an absolute value."""
        return token.text == "|" and self.bars > 0

    def factor(self) -> Node:
        """Read an atom with the factorials and powers behind it."""
        node = self.atom()
        while self.rest:
            if self.at("!"):
                self.take()
                node = Apply("factorial", (node,))
            elif self.at("^"):
                self.take()
                if self.at("\\circ") or (self.at("{") and len(self.rest) > 1 and self.rest[1].is_sign("\\circ")):
                    self.rest = self.rest[1:] if self.at("\\circ") else self.rest[3:]
                    node = Apply("degrees", (node,))
                else:
                    node = Apply("power", (node, self.exponent()))
            else:
                break
        return node

    def exponent(self) -> Node:
        """What stands behind `^`: a group, or one token; `2^3^2` is 2^9."""
        node = self.group("{") if self.at("{") else self.signed(self.atom)
        if not self.at("^"):
            return node
        self.take()
        return Apply("power", (node, self.exponent()))

    def group(self, opening: str) -> Node:
        """Read what stands in a bracket, the bracket included."""
        self.take()
        node = self.whole()
        closing = self.take()
        if not closing.is_sign(CLOSING[opening]):
            raise Unreadable(f"{opening} is closed by {closing.text}")
        return node

    def argument(self) -> Node:
        """What a TeX command takes: a group, or one token; of a number only the first digit."""
        if self.at("{"):
            return self.group("{")
        token = self.take()
        first, rest = token.split()
        if rest is not None:
            self.rest.insert(0, rest)
        if first.kind == "word" and len(first.text) > 1:
            self.rest.insert(0, replace(first, text=first.text[1:], start=first.start + 1))
            first = replace(first, text=first.text[0], end=first.start + 1)
        self.rest.insert(0, first)
        return self.atom()

    def atom(self) -> Node:
        """Read a number, letters, a command or a bracket."""
        token = self.take()
        if token.kind == "number":
            if token.value is None:
                raise Unreadable(f"the value of {token.text[:20]} is not known")
            return Number(token.value, bool({"decimal", "scientific"} & token.flags))
        if token.kind in ("word", "text"):
            return self.letters(token)
        if token.kind == "command":
            return self.command(token)
        self.rest.insert(0, token)
        if token.text in ("(", "[", "{"):
            return self.group(token.text)
        if token.text == "|":
            self.bars += 1
            node = Apply("abs", (self.group("|"),))
            self.bars -= 1
            return node
        raise Unreadable(f"{token.text!r} was not expected")

    def letters(self, token: Token) -> Node:
        """Read a run of letters: a function, a constant, a Greek letter, or a product of variables."""
        name = SAME_FUNCTIONS.get(token.text, token.text)
        if name in FUNCTIONS:
            return self.function(name)
        if name in ("sqrt", "abs"):
            argument = self.group("(") if self.at("(") else self.argument()
            return Apply("root", (argument, Number(Fraction(2)))) if name == "sqrt" else Apply("abs", (argument,))
        if name in NAMED:
            return Symbol(NAMED[name], constant=True)
        if name in GREEK:
            return self.symbol(name)
        prefix = next((f for f in ("sin", "cos", "tan", "cot", "ln", "log") if name.startswith(f)), None)
        if prefix is not None:
            self.rest.insert(0, replace(token, text=name.removeprefix(prefix), start=token.start + len(prefix)))
            return self.function(prefix)
        if len(name) > 1 and not name.endswith("'"):
            if len(name) > MAX_WORD_PRODUCT or token.kind == "text":
                raise Unreadable(f"{name!r} is a word")
            last = self.letters(replace(token, text=name[1:], start=token.start + 1))
            first = self.letters_one(name[0])
            # A power or a subscript behind a run of letters belongs to the last one: `ab^2`.
            return Apply("multiply", (first, self.raised(last)))
        return self.symbol(name) if name not in ("i", "e") else Symbol(name, constant=True)

    def raised(self, node: Node) -> Node:
        """Read the powers behind a node."""
        while self.at("^"):
            self.take()
            node = Apply("power", (node, self.exponent()))
        return node

    @staticmethod
    def letters_one(name: str) -> Node:
        """The symbol of one letter; `i` and `e` are constants."""
        return Symbol(name, constant=name in ("i", "e"))

    def symbol(self, name: str) -> Symbol:
        """The variable of this name, with the subscript behind it."""
        if self.at("_"):
            self.take()
            name += "_" + self.subscript()
        return Symbol(name)

    def subscript(self) -> str:
        """Read a subscript as text."""
        if not self.at("{"):
            return self.take().text
        self.take()
        parts: list[str] = []
        while not self.at("}"):
            parts.append(self.take().text)
        self.take()
        return "".join(parts)

    def command(self, token: Token) -> Node:
        """Read what a command begins."""
        name = token.text[1:]
        if name == "frac":
            return Apply("divide", (self.argument(), self.argument()))
        if name == "sqrt":
            return self.root()
        if name == "binom":
            return Apply("binomial", (self.argument(), self.argument()))
        if name in ("lfloor", "lceil"):
            self.rest.insert(0, token)
            return Apply("floor" if name == "lfloor" else "ceiling", (self.group(token.text),))
        if name == "imath":
            return Symbol("i", constant=True)
        if name in NAMED:
            return Symbol(NAMED[name], constant=True)
        if name in GREEK:
            return self.symbol(name)
        name = SAME_FUNCTIONS.get(name, name)
        if name in FUNCTIONS:
            return self.function(name)
        raise Unreadable(f"{token.text} is not known")

    def root(self) -> Node:
        """Read a root with its degree, if one is given in square brackets."""
        degree: Node = Number(Fraction(2))
        if self.at("["):
            degree = self.group("[")
        if self.at("("):
            return Apply("root", (self.group("("), degree))
        token = self.next()
        if token is not None and token.split()[1] is not None:
            self.doubts.add("root")
            if "root" not in self.other:
                return Apply("root", (self.atom(), degree))
        return Apply("root", (self.argument(), degree))

    def function(self, name: str) -> Node:
        """Read a function with its base, its power and its argument."""
        base: Node | None = None
        power: Node | None = None
        while self.at("_", "^"):
            if self.take().text == "_":
                base = self.argument()
            else:
                power = self.exponent()
        argument = self.function_argument()
        if name == "log" and base is None:
            self.doubts.add("log")
            name = "ln" if "log" in self.other else "lg"
        if power == Apply("negate", (Number(Fraction(1)),)):
            if name not in INVERSE:
                raise Unreadable(f"{name} has no inverse here")
            return Apply(INVERSE[name], (argument,))
        node = Apply(name, (argument,) if base is None else (argument, base))
        return node if power is None else Apply("power", (node, power))

    def function_argument(self) -> Node:
        r"""`\sin 2x` takes the product 2x; `\\sin(x)` the group; `\sin x \cos x` stops at the next function."""
        if self.at("(", "[", "{", "|"):
            return self.factor() if not self.at("(") else self.group("(")
        node = self.signed(self.factor)
        while self.rest and not self.is_function(self.rest[0]) and not self.at("(") and self.begins_factor(after=node):
            node = self.beside(node)
        return node

    @staticmethod
    def is_function(token: Token) -> bool:
        """Whether the token is the name of a function."""
        name = token.text.removeprefix("\\")
        return SAME_FUNCTIONS.get(name, name) in FUNCTIONS
