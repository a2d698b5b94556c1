"""Forecasts of pass@k by whatever version of the project is on the path: JSON cases in, JSON forecasts out.

A case is [n, c, ks, seed]; a forecast is a list of [value, low, high], one per k.
"""

from __future__ import annotations

import json
import sys

from posttrain_diag.stats import Counts, fit_mixing_law, pass_at


def main() -> None:
    out: list[list[list[float]]] = []
    for n, c, ks, seed in json.load(sys.stdin):
        law = fit_mixing_law(Counts([n] * len(c), c), seed=seed)
        out.append([[law.mean(pass_at(k)), *law.interval(pass_at(k))] for k in ks])
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
