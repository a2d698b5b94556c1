"""The nodes of an expression's tree, and the names that stand in one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "coth"}
    | {"exp", "ln", "log", "lg", "arctanh", "arcsinh", "arccosh"}
)
SAME_FUNCTIONS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "cosec": "csc", "tg": "tan", "ctg": "cot"}
INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sinh": "arcsinh", "tanh": "arctanh"}
GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi"}
    | {"rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi"}
    | {"Sigma", "Phi", "Psi", "Omega", "Pi", "ell", "hbar"}
)
NAMED = {"pi": "pi", "infty": "infty", "inf": "infty", "infinity": "infty", "Infinity": "infty", "i": "i", "e": "e"}
CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "|": "|"}
PRODUCT = ("*", "\\cdot", "\\times")
QUOTIENT = ("/", "\\div")
_STRUCTURE = frozenset(
    {"frac", "sqrt", "binom", "imath", "over", "choose", "lfloor", "rfloor", "lceil", "rceil", "circ"}
)


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    value: Fraction
    decimal: bool = False


@dataclass(frozen=True)
class Symbol:
    """A variable, or one of the constants pi, e, i, infty."""

    name: str
    constant: bool = False


@dataclass(frozen=True)
class Apply:
    """An operation: add, multiply, divide, power, root, negate, factorial, abs, binomial, degrees, or a function."""

    name: str
    arguments: tuple[Node, ...]


Node = Number | Symbol | Apply


def is_name(word: str) -> bool:
    """Whether a word of two letters or more names a constant, a function or a Greek letter."""
    return len(word) > 1 and (word in (*SAME_FUNCTIONS, "sqrt") or word in FUNCTIONS or word in GREEK or word in NAMED)


def is_known_command(text: str) -> bool:
    """Whether a command, with its backslash, can stand in an expression that is read here."""
    name = text.removeprefix("\\")
    return name in _STRUCTURE or not name.isalpha() or text in (*PRODUCT, *QUOTIENT) or is_name(name) or name in NAMED


def variables(node: Node) -> set[str]:
    """The names of the variables of an expression."""
    if isinstance(node, Symbol):
        return set() if node.constant else {node.name}
    return set[str]().union(*map(variables, node.arguments)) if isinstance(node, Apply) else set()


def operations(node: Node) -> set[str]:
    """The names of all operations in an expression."""
    return {node.name}.union(*map(operations, node.arguments)) if isinstance(node, Apply) else set()
