"""What laws of success probabilities real models have, learned from published pass@1 and pass@k.

The numbers stand in `law_prior.json` with their sources; `python -m benchmarks stats --only law_prior` makes them anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class LawPrior:
    """Normal prior of the two parameters of a kind of law, over real models and benchmarks."""

    mean: tuple[float, float]
    sd: tuple[float, float]

    @staticmethod
    def read(kind: str) -> LawPrior:
        """The learned prior of a kind of law.

        Args:
            kind: `beta`, (log a, log b) of a beta law of p, or `normal`, (mean, log sd) of a normal law of logit(p).
        """
        found: Any = json.loads(FILE.read_text(encoding="utf-8"))[kind]
        (mean_1, mean_2), (sd_1, sd_2) = found["mean"], found["sd"]
        return LawPrior((float(mean_1), float(mean_2)), (float(sd_1), float(sd_2)))


BETA = LawPrior.read("beta")
NORMAL = LawPrior.read("normal")
