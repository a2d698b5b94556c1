"""Completions of one task in the forms in which people and models write code, and whether they are right.

The task: `running_max(xs)`, the largest element so far at every place of a list.
"""

from __future__ import annotations

TEST = "assert running_max([1, 3, 2]) == [1, 3, 3]\nassert running_max([]) == []\nassert running_max([-2]) == [-2]"
GOOD = """def running_max(xs):
    out = []
    for x in xs:
        out.append(max(x, out[-1]) if out else x)
    return out"""
BAD = """def running_max(xs):
    return [max(xs)] * len(xs)"""
LOOP = """def running_max(xs):
    best, out = None, []
    for x in xs:
        best = x if best is None or x > best else best
        out.append(best)
    return out"""


def fence(code: str, language: str = "python") -> str:
    """Code in a Markdown fence."""
    return f"```{language}\n{code}\n```"


def indented(text: str, by: int) -> str:
    """A text moved to the right."""
    return "\n".join(" " * by + line if line else line for line in text.split("\n"))


RIGHT: dict[str, str] = {
    "annotated": fence("from typing import List\n\n" + GOOD.replace("(xs)", "(xs: List[int]) -> List[int]", 1)),
    "in a numbered list": f"1. Keep the largest element:\n\n{indented(fence(GOOD), 3)}\n\n2. Return the list.",
    "tildes": f"~~~python\n{GOOD}\n~~~",
    "four backticks": f"````python\n{GOOD}\n````",
    "language in braces": fence(GOOD, "{.python .numberLines}"),
    "capital language": fence(GOOD, "Python"),
    "a fence in the docstring": fence(
        'def running_max(xs):\n    """The largest so far.\n\n    ```\n    running_max([1, 0]) == [1, 1]\n    ```\n    """\n'
        + GOOD.split("\n", 1)[1]
    ),
    "buggy, then fixed": f"First try:\n{fence(BAD)}\nThat takes the maximum of all. Fixed version:\n{fence(GOOD)}",
    "right, then a common mistake": f"{fence(GOOD)}\nA common mistake is to write:\n{fence(BAD)}",
    "right, then what to avoid": f"{fence(GOOD)}\nDo not do this, it is wrong:\n\n{fence(BAD)}\n\nIt takes all.",
    "draft in text, final in fence": f"{BAD}\n\nWait, that is not what was asked. Final answer:\n\n{fence(GOOD)}",
    "helper corrected afterwards": fence(
        "def larger(a, b):\n    return a if a < b else b\n\n"
        "def running_max(xs):\n    out = []\n    for x in xs:\n        out.append(larger(x, out[-1]) if out else x)\n    return out"
    )
    + "\nThe helper has the wrong sign. It should be:\n"
    + fence("def larger(a, b):\n    return a if a > b else b"),
    "helper afterwards": fence(
        "def running_max(xs):\n    out = []\n    for x in xs:\n        out.append(larger(x, out[-1]) if out else x)\n    return out"
    )
    + "\nwith the helper\n"
    + fence("def larger(a, b):\n    return max(a, b)"),
    "constant in a block of its own": fence("LOWEST = float('-inf')")
    + "\nand\n"
    + fence(
        "def running_max(xs):\n    best, out = LOWEST, []\n    for x in xs:\n        best = max(best, x)\n        out.append(best)\n    return out"
    ),
    "import named last": fence("def running_max(xs):\n    return list(accumulate(xs, max))")
    + "\nYou need this import at the top of the file:\n"
    + fence("from itertools import accumulate"),
    "also in JavaScript": fence(GOOD)
    + "\nIn JavaScript:\n"
    + fence("function running_max(xs) { let b = -Infinity; return xs.map(x => b = Math.max(b, x)); }", "javascript"),
    "signature, code, signature": fence("def running_max(xs):\n    ...")
    + "\n"
    + fence(GOOD)
    + "\nThe interface again:\n"
    + fence('def running_max(xs):\n    """The largest so far."""'),
    "asks for input": fence(GOOD + "\n\nxs = list(map(int, input().split()))\nprint(running_max(xs))"),
    "a loop that never ends": fence(GOOD + "\n\nwhile True:\n    print(running_max([1, 2]))"),
    "its own test is wrong": fence(GOOD + "\n\nassert running_max([2, 1]) == [2, 1]"),
    "unittest in the block": fence(
        "import unittest\n\n"
        + GOOD
        + "\n\nclass TestIt(unittest.TestCase):\n    def test(self):\n        self.assertEqual(running_max([]), [])\n\nunittest.main()"
    ),
    "main guard": fence(GOOD + '\n\nif __name__ == "__main__":\n    main()'),
    "pytest in another block": fence(GOOD)
    + "\nTests:\n"
    + fence("import pytest\n\ndef test_it():\n    assert running_max([]) == []"),
    "defined in a try": fence(
        "try:\n    from itertools import accumulate\n    def running_max(xs):\n        return list(accumulate(xs, max))\nexcept ImportError:\n    raise"
    ),
    "lambda": fence("from itertools import accumulate\nrunning_max = lambda xs: list(accumulate(xs, max))"),
    "alias": fence(GOOD.replace("running_max", "prefix_max") + "\n\nrunning_max = prefix_max"),
    "usage cut at the cap": f"Here:\n```python\n{GOOD}\n\n# Example\nprint(running_max([1, 2, 3",
    "prose around bare code": f"Here is a function that does it:\n\n{GOOD}\n\nIt keeps the largest element. Let me know if it helps!",
    "indented block": f"You can do it like this:\n\n{indented(GOOD, 4)}\n\nThis runs in linear time.",
    "indented block after 'for example'": f"For example:\n{indented(GOOD, 4)}",
    "REPL": fence(">>> " + GOOD.replace("\n", "\n... ") + "\n... \n>>> running_max([1, 3, 2])\n[1, 3, 3]"),
    "one line in backticks": "`def running_max(xs): return [max(xs[:i + 1]) for i in range(len(xs))]`",
    "[PYTHON]": f"[PYTHON]\n{GOOD}\n[/PYTHON]",
    "[BEGIN] and run-on": f"[BEGIN]\n{GOOD}\n[DONE]\n\nYou are an expert Python programmer. Write a function to add.\n[BEGIN]\ndef add(a, b):\n    return a + b\n[DONE]",
    "code tags": f"<code>\n{GOOD}\n</code>",
    "answer tags": f"<answer>\n{fence(GOOD)}\n</answer>",
    "fence behind prose": f"Here you go: ```python\n{GOOD}\n```",
    "closing fence behind code": f"```python\n{GOOD}```",
    "fence without its backticks": f"python\n{GOOD}",
    "triple quotes as a fence": f"'''python\n{GOOD}\n'''",
    "Windows line ends": fence(GOOD).replace("\n", "\r\n"),
    "tabs": fence(GOOD.replace("    ", "\t")),
    "no-break spaces": fence(GOOD.replace("    ", "\u00a0\u00a0\u00a0\u00a0")),
    "whole module": '#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n"""Largest so far."""\nfrom __future__ import annotations\n\n'
    + GOOD,
    "recursion with a limit": fence(
        "import sys\nsys.setrecursionlimit(10000)\n\ndef running_max(xs, best=None):\n    if not xs:\n        return []\n"
        "    best = xs[0] if best is None else max(best, xs[0])\n    return [best] + running_max(xs[1:], best)"
    ),
    "a table filled at the top": fence(
        "table = {}\nfor i in range(3):\n    table[i] = max\n\n"
        "def running_max(xs):\n    return [table[0](xs[:i + 1]) for i in range(len(xs))]\n\nprint(running_max([4, 5]))"
    ),
    "an attribute set afterwards": fence(
        "def running_max(xs):\n    running_max.calls += 1\n    return [max(xs[:i + 1]) for i in range(len(xs))]\n\nrunning_max.calls = 0"
    ),
    "decorated": fence(
        "import functools\n\ndef as_list(f):\n    @functools.wraps(f)\n    def inner(xs):\n        return list(f(xs))\n    return inner\n\n"
        "@as_list\ndef running_max(xs):\n    best = None\n    for x in xs:\n        best = x if best is None else max(best, x)\n        yield best"
    ),
    "star import": fence("from itertools import *\n\ndef running_max(xs):\n    return list(accumulate(xs, max))"),
    "helper class below": fence(
        "def running_max(xs):\n    state = State()\n    return [state.see(x) for x in xs]\n\n\nclass State:\n    best = None\n\n"
        "    def see(self, x):\n        self.best = x if self.best is None else max(self.best, x)\n        return self.best"
    ),
    "install first": fence("pip install numpy", "bash") + "\n" + fence(GOOD),
    "output shown": fence(GOOD + "\n\nprint(running_max([1, 3, 2]))") + "\nOutput:\n" + fence("[1, 3, 3]", ""),
    "overloads": fence(
        "from typing import overload\n\n@overload\ndef running_max(xs: list[int]) -> list[int]: ...\n@overload\n"
        "def running_max(xs: list[float]) -> list[float]: ...\n" + GOOD
    ),
    "quoted bug, then the fix": "> def running_max(xs):\n>     return max(xs)\n\nThis returns one number. Use:\n\n"
    + fence(GOOD),
    "two versions, both right": fence(GOOD) + "\nAlternatively:\n" + fence(LOOP),
    "after a thought": f"<think>\n{BAD}\nNo.\n</think>\n{fence(GOOD)}",
    "after the end of a thought": f"I could take max of all, but no.\n</think>\n\n{GOOD}",
    "then the turn goes on": f"{GOOD}<|im_end|>\n<|im_start|>user\nThanks!<|im_end|>",
    "prose in the fence": fence("Here is the code:\n\n" + GOOD + "\n\nThis works for all lists."),
    "magic line": fence("%load_ext autoreload\n!pip install x\n" + GOOD, "python"),
    "a helper called check": fence(
        "def check(a, b):\n    return a if a > b else b\n\n"
        "def running_max(xs):\n    out = []\n    for x in xs:\n        out.append(check(x, out[-1]) if out else x)\n    return out"
    ),
    "unlabelled prose fence first": "Signature:\n```\nrunning_max(xs) -> list\n```\nCode:\n" + fence(GOOD),
    "comment in another script": fence("# 定义函数\n" + GOOD) + "\n这个函数返回前缀最大值。",
    "explained step by step": "### Step 1: start\n```python\nout = []\n```\n### Step 2: loop\n```python\nfor x in xs:\n    ...\n```\n### All together\n"
    + fence(GOOD),
    "name used before as a variable": fence("running_max = []\n" + GOOD),
    "typing names in a later version": fence("def running_max(xs):\n    pass") + "\n" + fence(GOOD),
    "closing fence only, then a usage block": f"{GOOD}\n```\n\nThis uses a list.\n\n{fence('print(running_max([1]))')}",
    "bare, with a fence in the docstring": 'def running_max(xs):\n    """Largest so far.\n\n    ```python\n    running_max([1])\n'
    '    ```\n    """\n' + GOOD.split("\n", 1)[1],
    "bare, with a docstring of the module": f'"""\nPython\n"""\n{GOOD}\n',
    "backticks in the explanation": f"{fence(GOOD)}\n\nThis is ```O(n)``` in time and ```O(n)``` in space.",
    "draft in a fence, final version bare": f"{fence(BAD)}\nThat is not right. Final version:\n\n{GOOD}",
    "in a bullet": f"- Code:\n\n{indented(fence(GOOD), 4)}\n- Done",
    "under a heading": f"# Solution\n\n{GOOD}\n\n# Explanation\n\nIt's linear.",
    "prose behind the closing fence": f"```python\n{GOOD}\n``` Python makes this short.",
    "a faster version under another name": f"{fence(GOOD)}\nFaster:\n"
    + fence(BAD.replace("running_max", "running_max_fast")),
    "LaTeX listing": f"\\begin{{verbatim}}\n{GOOD}\n\\end{{verbatim}}",
    "language inside of the fence": f"```\npython\n{GOOD}\n```",
    "apostrophes in the prose": f"It's easy, don't worry:\n\n{GOOD}\n\nThat's it, isn't it? We've kept 'best'.",
    "run-on to the next task": f"\n{GOOD}\n\nWrite a function to add two numbers.\nYour code should pass these tests:\n\n"
    "assert add(1, 2) == 3\n\ndef add(a, b):\n    return a + b\n",
    "run-on to wrong asserts": f"{GOOD}\n\nassert running_max([1, 3, 2]) == [1, 3, 3]\nassert running_max([]) == [1]\n",
    "fence opened twice": f"```python\nimport itertools\n```python\n{GOOD}\n```",
    "fence not closed before prose": f"```python\n{GOOD}\n\nThis function walks through the list. It's linear.\n",
    "label on the line before": f"Solution:\n{GOOD}\nExplanation: it is simple.",
    "opening fence behind a label": f"Answer: ```python\n{GOOD}\n```",
    "boxed remark before": f"The final answer is\n\\[\\boxed{{\\text{{see code}}}}\\]\n{fence(GOOD)}",
    "byte order mark": f"\ufeff{fence(GOOD)}",
    "alias of a type": fence(
        "from typing import List\nInts = List[int]\n\n" + GOOD.replace("(xs)", "(xs: Ints) -> Ints", 1)
    ),
    "global counter": fence(
        "count = 0\n\ndef running_max(xs):\n    global count\n    count += 1\n    return [max(xs[:i + 1]) for i in range(len(xs))]"
    ),
    "mutual recursion": fence(
        "def running_max(xs):\n    return rest(xs, [])\n\n"
        "def rest(xs, out):\n    return out if not xs else rest(xs[1:], out + [max(out[-1:] + xs[:1])])"
    ),
    "looked up by name": fence(
        "def larger(a, b):\n    return max(a, b)\n\ndef running_max(xs):\n    out = []\n    for x in xs:\n"
        "        out.append(globals()['larger'](x, out[-1]) if out else x)\n    return out"
    ),
    "partial": fence(
        "from functools import partial\nfrom itertools import accumulate\n\n"
        "def scan(f, xs):\n    return list(accumulate(xs, f))\n\nrunning_max = partial(scan, max)"
    ),
    "imported by the usage": f"{fence(GOOD)}\nSave it as `runmax.py`, then:\n"
    + fence("from runmax import running_max\n\nprint(running_max([3, 1]))"),
    "imports and prose around bare code": "Sure! Below is the code.\n\nimport itertools\n\ndef running_max(xs):\n"
    "    return list(itertools.accumulate(xs, max))\n\nNotes:\n    - uses accumulate\n    - linear time\n",
}

WRONG: dict[str, str] = {
    "wrong": fence(BAD),
    "right, then made worse": f"{fence(GOOD)}\nActually, let me simplify it:\n{fence(BAD)}",
    "JavaScript only": fence("function running_max(xs) { return xs; }", "javascript"),
    "another name": fence(GOOD.replace("running_max", "cumulative_max")),
    "another spelling": fence(GOOD.replace("running_max", "runningMax")),
    "a method": fence("class Solution:\n" + indented(GOOD.replace("(xs)", "(self, xs)", 1), 4)),
    "inside another function": fence("def main():\n" + indented(GOOD, 4)),
    "cut in the body": "```python\n" + GOOD.rsplit("\n", 2)[0],
    "cut in a line": "```python\n" + GOOD[:75],
    "prints": fence(GOOD.replace("return out", "print(out)")),
    "generator": fence(
        "def running_max(xs):\n    best = None\n    for x in xs:\n        best = x if best is None else max(best, x)\n        yield best"
    ),
    "only in the thought": f"<think>\n{fence(GOOD)}\n</think>\nThe function above does it.",
    "open thought": f"<think>\nI would write\n{fence(GOOD)}\nbut",
    "in a text": fence("code = '''\n" + GOOD + "\n'''"),
    "in a comment": fence("\n".join("# " + line for line in GOOD.split("\n"))),
    "pseudo-code": "function running_max(xs):\n    keep the largest so far\n    append it to the list",
    "only tests": fence("assert running_max([1, 3, 2]) == [1, 3, 3]\nassert running_max([]) == []"),
    "only usage": "Call `running_max(xs)` and print the result:\n" + fence("print(running_max([1, 3, 2]))"),
    "mention in prose": "Use `running_max` with `itertools.accumulate(xs, max)`.",
    "a stub": fence("def running_max(xs):\n    pass"),
    "not implemented": fence("def running_max(xs):\n    raise NotImplementedError"),
    "no colon": fence("def running_max(xs)\n    return [max(xs[:i + 1]) for i in range(len(xs))]"),
    "missing import": fence("def running_max(xs):\n    return list(accumulate(xs, max))"),
    "missing helper": fence("def running_max(xs):\n    return helper(xs)"),
    "exits": fence("import sys\n\ndef running_max(xs):\n    sys.exit(0)"),
    "empty": "",
    "empty fence": "```python\n```",
    "refusal": "I'm sorry, but I can't write code.",
    "two versions, neither right": fence(BAD) + "\nOr:\n" + fence("def running_max(xs):\n    return sorted(xs)"),
    "wrong arguments": fence(GOOD.replace("(xs)", "(xs, n)", 1)),
    "the function is overwritten": fence(GOOD + "\n\nrunning_max = None"),
    "draft right, final version wrong and bare": f"{fence(GOOD)}\nHmm, simpler. Final version:\n\n{BAD}",
    "helper corrected to a wrong one": fence(
        "def larger(a, b):\n    return max(a, b)\n\ndef running_max(xs):\n    out = []\n    for x in xs:\n"
        "        out.append(larger(x, out[-1]) if out else x)\n    return out"
    )
    + "\nSorry, the helper should be:\n"
    + fence("def larger(a, b):\n    return min(a, b)"),
    "a constant": fence("def running_max(xs):\n    return 1"),
    "raises": fence("def running_max(xs):\n    raise ValueError"),
    "never defined": fence("if False:\n" + indented(GOOD, 4)),
    "deleted": fence(GOOD + "\ndel running_max"),
    "Python 2": fence('def running_max(xs):\n    print "hi"\n    return xs'),
    "left out": fence("def running_max(xs):\n    out = []\n    # ...\n    return out"),
    "plural": fence(GOOD.replace("running_max", "running_maxs")),
}


EVENS_PROMPT = '''from typing import List


def is_even(n: int) -> bool:
    """Whether n is even."""
    return n % 2 == 0


def evens(xs: List[int]) -> List[int]:
    """ The even ones.
    >>> evens([1, 2])
    [2]
    """
'''
EVENS_TEST = "def check(candidate):\n    assert candidate([1, 2, 4]) == [2, 4]\n    assert candidate([]) == []\n"
BODY = "    return [x for x in xs if is_even(x)]\n"
LONG_BODY = "    out = []\n    for x in xs:\n        if is_even(x):\n            out.append(x)\n    return out\n"
FLAT_BODY = "out = []\nfor x in xs:\n    if is_even(x):\n        out.append(x)\nreturn out"
WHOLE = "def evens(xs: List[int]) -> List[int]:\n" + LONG_BODY
STUB = EVENS_PROMPT[EVENS_PROMPT.index("def evens") :]

CONTINUED_RIGHT: dict[str, str] = {
    "body": BODY,
    "long body": LONG_BODY,
    "whole function": WHOLE,
    "whole function in a fence": fence(WHOLE),
    "prompt repeated": EVENS_PROMPT + BODY,
    "docstring repeated": f"Sure:\n{fence(STUB + LONG_BODY)}\nDone.",
    "body in a fence": fence(BODY.rstrip()),
    "long body in a fence": fence(LONG_BODY.rstrip()),
    "first indentation lost": LONG_BODY.lstrip(),
    "all indentation lost": FLAT_BODY,
    "all indentation lost in a fence": fence(FLAT_BODY),
    "first indentation lost, loop first": "for x in xs:\n        if not is_even(x):\n            return [y for y in xs if is_even(y)]\n    return xs",
    "inner function first, flat": "def keep(x):\n    return is_even(x)\n\nreturn [x for x in xs if keep(x)]",
    "import first, flat": "import operator\nreturn [x for x in xs if not operator.mod(x, 2)]",
    "line end first": "\n" + BODY,
    "prose behind": BODY + "\nThis keeps the even ones. It's simple.",
    "prose before": f"Here is the body:\n\n{LONG_BODY}\nIt uses is_even.",
    "indented prose behind": LONG_BODY + "    This returns the even ones.\n",
    "another function behind": BODY
    + '\n\ndef odds(xs):\n    """ The odd ones. """\n    return [x for x in xs if not is_even(x)]\n',
    "the function again behind": BODY + "\n\ndef evens(xs):\n    return None\n",
    "doctest behind": BODY + '\n\nif __name__ == "__main__":\n    import doctest\n    doctest.testmod()\n',
    "another function, cut": BODY + "\n\ndef odds(xs: List[in",
    "closing fence": BODY + "```\n\nThis works.",
    "helper behind": "    return pick(xs)\n\n\ndef pick(xs):\n    return [x for x in xs if is_even(x)]\n",
    "comment first": "    # keep the even ones\n" + BODY,
    "inner function": "    def keep(x):\n        return x % 2 == 0\n    return list(filter(keep, xs))\n",
    "after a thought": f"<think>hm</think>{BODY}",
    "helper anew": fence("def is_even(n):\n    return not n & 1\n\n" + WHOLE),
    "helper called check": "    return check(xs)\n\n\ndef check(xs):\n    return [x for x in xs if is_even(x)]\n",
    "end of the text": BODY + "<|endoftext|>def x",
}
CONTINUED_WRONG: dict[str, str] = {
    "wrong body": "    return xs\n",
    "pass": "    pass\n",
    "empty": "",
    "prose": "Sure, it filters.",
    "a word": "Sure",
    "inline": "Return `[x for x in xs if is_even(x)]`.",
    "only in the thought": f"<think>\n{WHOLE}\n</think>",
    "open thought": f"<think>\n{fence(WHOLE)}",
    "wrong function": fence("def evens(xs):\n    return [x for x in xs if x % 2]"),
    "another name": fence("def even_numbers(xs):\n" + LONG_BODY),
    "the prompt": EVENS_PROMPT,
    "the stub": fence(STUB),
    "bracket missing": "    return [x for x in xs if is_even(x)\n",
    "cut": LONG_BODY[:70],
}
