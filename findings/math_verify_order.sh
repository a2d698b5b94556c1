#!/usr/bin/env bash
# math-verify 0.9.0 (latex2sympy2_extended 1.11.0, sympy 1.14.0): whether two answers are equal depends on which is gold.
#
# Setting: an interval as the gold answer and the same set written as a double inequality, and the other way round.
#
# Expected: equality of two answers does not depend on their order.
# Seen: verify(gold="3 < x \le 4", answer="(3, 4]") is True and verify(gold="(3, 4]", answer="3 < x \le 4") is False.
#
# A data set that writes its golds as intervals pays a right inequality nothing; one that writes inequalities pays both.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/env"
"$here/env/bin/pip" install --quiet --disable-pip-version-check math-verify==0.9.0 latex2sympy2_extended==1.11.0 \
  antlr4-python3-runtime==4.13.2 sympy==1.14.0
"$here/env/bin/python" - <<'PY'
import sys

from math_verify import parse, verify

interval, inequality = parse(r"$(3,4]$"), parse(r"$3<x\le 4$")
forth, back = verify(inequality, interval), verify(interval, inequality)
print(f"gold an inequality, answer the interval: {forth}")
print(f"gold an interval, answer the inequality: {back}")
sys.exit(0 if (forth, back) == (True, False) else "math-verify answers otherwise now")
PY
