r"""One spelling for what is typed in many: Unicode signs, sizes of brackets and fractions, spaces, thousands.

    "3√2"  "3\,\sqrt2"            ->  "3\sqrt{2}"  "3~\sqrt2"
    "\left(\dfrac12\right)"       ->  "(\frac12)"
    "10{,}080"  "10,\!080"        ->  "10٬080"          (a comma that is no separator of a list)

The result is still LaTeX and means the same; it is what `tokens.py` cuts up and what a worker is given.
"""

from __future__ import annotations

import re
import unicodedata

THOUSANDS = "\u066c"
"""Stands for a comma that can only be a separator of thousands."""
ROW = "\u23ce"
"""Stands for `\\\\`, the end of a matrix row."""
THIN = "~"
r"""Stands for every space that a formula states: `\,`, `\;`, `~`, a no-break space."""
CURRENCIES = {"\\$": "dollar", "$": "dollar", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee", "¢": "cent"}

_SIGNS = {
    **dict.fromkeys("−‐‑‒–﹣－", "-"),
    **dict.fromkeys("\u00a0\u2009\u202f\u2008\u2007\u200a", THIN),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("⋅·∙•", r"\cdot "),
    **dict.fromkeys("’′", "'"),
    **{
        "×": r"\times ",
        "÷": r"\div ",
        "±": r"\pm ",
        "∓": r"\mp ",
        "°": r"^\circ ",
        "º": r"^\circ ",
        "⁄": "/",
        "∕": "/",
    },
    **{"≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≅": r"\approx "},
    **{"∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus "},
    **{"⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil "},
    **{
        "ℝ": r"\mathbb{R}",
        "ℤ": r"\mathbb{Z}",
        "ℚ": r"\mathbb{Q}",
        "ℂ": r"\mathbb{C}",
        "…": r"\ldots ",
        "∛": r"\sqrt[3]",
    },
    **{"π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda "},
    **{"φ": r"\phi ", "ω": r"\omega ", "μ": r"\mu ", "σ": r"\sigma ", "δ": r"\delta ", "ε": r"\epsilon "},
    **{"∨": r"\lor ", "∧": r"\land ", "→": r"\to ", "⇒": r"\Rightarrow "},
}
_TRANSLATE = str.maketrans(_SIGNS)
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_VULGAR = re.compile(r"[¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")

_SAME_COMMANDS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "sfrac", "nicefrac", "flatfrac"), "frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"),
    **{"neq": "ne", "simeq": "approx", "cong": "approx", "lt": "<", "gt": ">", "colon": ":", "ast": "cdot"},
    **{"varnothing": "emptyset", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "lparen": "("},
    **{"rparen": ")", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "slash": "/", "degree": "circ"},
    **{"textdegree": "circ", "percent": "%", "dots": "ldots", "dotsc": "ldots", "cdots": "ldots", "dotsb": "ldots"},
    **{"varphi": "phi", "vartheta": "theta", "varepsilon": "epsilon", "vee": "lor", "wedge": "land", "lg": "lg"},
    **{"iff": "Leftrightarrow", "implies": "Rightarrow", "rightarrow": "to", "bar": "overline", "euro": "€"},
    **{"textdollar": "$", "dollar": "$", "pounds": "£", "cents": "¢", "cent": "¢", "unicode": "unicode"},
}
_BARE = frozenset("<>:[]()|/%€£¢")
_SIZES = re.compile(r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s*(\.(?!\d))?")
_DROPPED = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|strut|hfill|noindent|centering|small|large"
    r"|normalsize|bold|bf|rm|it|quad|qquad|enspace|nolinebreak|mathop|mathrel|ensuremath)(?![a-zA-Z])"
)
_WIDE_SPACE = re.compile(r"[,;]?\s*\\q?quad(?![a-zA-Z])\s*(?=[A-Za-z])")
_TWO_EQUATIONS = re.compile(r"=[^=]*\\q?quad[^=]*=")
_WRAPPED = r"\{\s*\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}\s*\}"
_UNIT_FRACTION = re.compile(rf"\\[dt]?frac\s*{_WRAPPED}\s*{_WRAPPED}")
_OUTWARD = re.compile(r"^\s*([\[(\]])([^\[\]()]*[,;][^\[\]()]*)([\])\[])\s*$")
_AND_PART = re.compile(
    r"(?<=\d)\s+and\s+(a|an|one|two|three)\s+(half|halves|thirds?|quarters?|fourths?|fifths?|eighths?)\b", re.IGNORECASE
)
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "eighth": 8}
_MEMBER = re.compile(r"(?<![A-Za-z\\])([A-Za-z]) in (?=[\[({\\\]])")
_STATED_SPACE = re.compile(r"\\(?:[,:;> ]|thinspace(?![a-zA-Z])|enskip(?![a-zA-Z])|hspace\*?\{[^{}]*\})")
_NEGATIVE_SPACE = re.compile(r"\\(?:!|negthinspace(?![a-zA-Z]))\s*")
_ROW_BREAK = re.compile(r"\\\\(?:\[[^\[\]]*\])?")
_SURE_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!)\s*(?=\d{3}(?!\d))")
_MINUS = re.compile(r"(?:\b(?:minus|negative)\s+|\\text\{\s*(?:minus|negative)\s*\}\s*)(?=[\d.$\\])", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_EMPTY_GROUP = re.compile(r"(\\(?!d?t?frac|sqrt|text|math|[dt]?binom|overline|begin|end)[A-Za-z]+)\{\}")
"""What only ends the name of a command: `\\pi{}`."""
_PLAIN = {
    "<=": r"\le ",
    ">=": r"\ge ",
    "=<": r"\le ",
    "!=": r"\ne ",
    "+/-": r"\pm ",
    "==": "=",
    ":=": "=",
    "=>": r"\Rightarrow ",
}
_PLAIN_SIGNS = re.compile(r"<=|>=|=<|!=|\+ ?/ ?-|==|:=|=>")
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$")
_ROOT = re.compile(r"√\s*(?:(\d+(?:\.\d+)?)|([A-Za-z]))?")
_BRACKETED = re.compile(r"[(\[][^()\[\]]*[)\]]|\\\{[^{}]*\\\}")
_TIGHT_COMMA = re.compile(r",(?=\S)")


def one_spelling(text: str) -> str:
    """The same LaTeX (or plain text) with one way to type what has many."""
    if not text.isascii():
        text = _plain_signs(text)
    text = _MEMBER.sub(r"\1 \\in ", _MINUS.sub("-", text)).replace("{:}", ":")
    text = _DECIMAL_COMMA.sub(".", _SURE_THOUSANDS.sub(THOUSANDS, text))
    if "\\" in text:
        # Without a matrix a doubled backslash is a command that was escaped twice.
        text = _ROW_BREAK.sub(ROW, text) if "\\begin" in text else text.replace("\\\\", "\\")
        text = _NEGATIVE_SPACE.sub("", text)
        text = _SIZES.sub("", text)
        text = _DELIMITERS.sub(" ", text)
        text = _WIDE_SPACE.sub(", ", text) if _TWO_EQUATIONS.search(text) else text
        text = _UNIT_FRACTION.sub(r"\\text{\1/\2}", text)
        text = _STATED_SPACE.sub(THIN, text)
        text = _EMPTY_GROUP.sub(r"\1 ", _DROPPED.sub(" ", text))
        text = _COMMAND.sub(_one_command, text)
    text = _PLAIN_SIGNS.sub(lambda m: _PLAIN[m[0].replace(" ", "")], _plain_dollars(text))
    text = _OUTWARD.sub(_inward, _AND_PART.sub(_fraction_of_words, text))
    text = _BRACKETED.sub(_list_in_brackets, text)
    return text.replace("**", "^").strip(" \t\r\n" + THIN).rstrip(" \\" + THIN)


def _plain_signs(text: str) -> str:
    text = _VULGAR.sub(lambda m: _vulgar(m[0]), text)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+", lambda m: "^{" + m[0].translate(_SUPER) + "}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda m: "_{" + m[0].translate(_SUB) + "}", text)
    text = _ROOT.sub(lambda m: r"\sqrt" + (f"{{{m[1] or m[2]}}}" if m[1] or m[2] else ""), text)
    return unicodedata.normalize("NFKC", text.translate(_TRANSLATE)).translate(_TRANSLATE)


def _vulgar(char: str) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", char).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _one_command(match: re.Match[str]) -> str:
    same = _SAME_COMMANDS.get(match[1], match[1])
    if same in _BARE:
        return same
    return "\\" + same


def _plain_dollars(text: str) -> str:
    r"""The text without dollar signs that delimit formulas; those that stand before an amount stay, as `\$`."""
    bare = [m.start() for m in re.finditer(r"(?<!\\)\$", text)]
    if not bare:
        return text
    # One that is left over is money: "$37.50", or "$\$37.50$" after its pair was taken off.
    money = bare[0] if len(bare) % 2 else None
    parts: list[str] = []
    end = 0
    for at in bare:
        parts += [text[end:at], "\\$" if at == money else " "]
        end = at + 1
    return "".join([*parts, text[end:]])


def _inward(match: re.Match[str]) -> str:
    """`]3, 4[` as `(3, 4)`: an end that does not belong, written as in French."""
    opening, closing = {"]": "("}.get(match[1], match[1]), {"[": ")"}.get(match[3], match[3])
    return f"{opening}{match[2]}{closing}"


def _fraction_of_words(match: re.Match[str]) -> str:
    """`2 and a half` as a mixed number."""
    top = {"two": 2, "three": 3}.get(match[1].lower(), 1)
    return rf"\frac{{{top}}}{{{_PARTS[match[2].lower().rstrip('s')]}}}"


def _list_in_brackets(match: re.Match[str]) -> str:
    r"""In `(12,102)` the comma separates two numbers; in `(1,234, 5)` the spaced one does."""
    inner = match[0]
    if re.search(r",\s|;", inner) or "," not in inner:
        return inner
    return _TIGHT_COMMA.sub(", ", inner)
