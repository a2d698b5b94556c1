#!/usr/bin/env bash
# math-verify 0.9.0 (latex2sympy2_extended 1.11.0, sympy 1.14.0): answers with different values are called equal.
#
# Setting: verify(parse(gold), parse(answer)) with the defaults, as a reward function of a GRPO run calls it. All inputs
# are plain final answers of competition problems.
#
# Expected: two answers with different values are different.
# Seen: equal are
#   - two small numbers that differ in their third digit (0.0000672 and 0.0000671): values are compared after rounding
#     to six decimal places, so that everything below 5e-7 is one number, and close small ones are;
#   - a numeral in base 8 and the same digits in base 9 (52_8 is 42, 52_9 is 47): the base is dropped;
#   - R and r, which a formula may use for two different radii.
# And two spellings of one value are not: 10\,080 with LaTeX's thin space between groups of digits is read as 10, so it
# is refused for the gold 10080.
#
# A model that is trained against this reward is paid for wrong answers and punished for right ones.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/env"
"$here/env/bin/pip" install --quiet --disable-pip-version-check math-verify==0.9.0 latex2sympy2_extended==1.11.0 \
  antlr4-python3-runtime==4.13.2 sympy==1.14.0
"$here/env/bin/python" - <<'PY'
import sys

from math_verify import parse, verify

CASES = [
    # gold, answer, what is true, what was seen
    (r"$0.0000672$", r"$0.0000671$", False, True),
    (r"$52_8$", r"$52_9$", False, True),
    (r"$3R^2$", r"$3r^2$", False, True),
    (r"$10080$", r"$10\,080$", True, False),
    (r"$0.672$", r"$0.671$", False, False),
]
changed = False
for gold, answer, true, seen in CASES:
    now = verify(parse(gold), parse(answer))
    print(f"gold {gold:14} answer {answer:14} equal in truth: {true!s:5}  math-verify: {now}")
    changed |= now is not seen
sys.exit("math-verify answers otherwise now" if changed else 0)
PY
