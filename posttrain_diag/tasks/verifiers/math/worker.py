r"""The worker process behind `workers.py`: pairs of formulas in, one JSON object a line, verdicts out.

    {"gold": "\\int_0^1 x dx", "answer": "\\frac{1}{2}"}   ->   {"same": true}
    {"gold": "\\foo", "answer": "1"}                       ->   {"same": null, "why": "math-verify cannot read \\foo"}

It runs as a program of its own, so that it must not import the package: what it may take of time and memory is bounded
by the system, and it ends when its standard input does. Every pair gets `LIMIT_S` seconds of CPU time: then the system
ends the process, even in the middle of an operation that no Python code can interrupt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer requests until standard input ends."""
    limit_s, memory = float(sys.argv[1]), int(sys.argv[2])
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # where the system knows no such limit, time still bounds
            resource.setrlimit(limit, (value, value))
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no reply
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        from math_verify import verify
        from math_verify.parser import LatexExtractionConfig, NormalizationConfig, parse
    except ImportError as error:
        _reply(replies, {"missing": str(error)})
        return
    # Units, percent signs and boxes have been taken off before; what is left is one formula, taken as it stands.
    plain = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none")
    config = [LatexExtractionConfig(normalization_config=plain)]

    def read(formula: str) -> list[Any]:
        return [found for found in parse(f"${formula}$", config, parsing_timeout=0) if not isinstance(found, str)]

    def judge(gold: list[Any], answer: list[Any]) -> dict[str, Any]:
        if not gold or not answer:
            return {"same": None, "why": f"no reader knows the {'answer' if gold else 'gold'}"}
        try:
            same = verify(gold, answer, float_rounding=12, timeout_seconds=None, raise_on_error=True)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            return {"same": None, "why": f"math-verify raised {type(error).__name__}"}
        return {"same": bool(same)}

    judge(read("\\sqrt{x}+1"), read("1+x^{1/2}"))  # loads what is slow to load before the clock runs
    _reply(replies, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        reply = judge(read(request["gold"]), read(request["answer"]))
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        if _most_memory() > memory // 2:
            # math-verify and sympy swallow a MemoryError on the way, and then say "different".
            reply = reply if reply["same"] else {"same": None, "why": "math-verify ran out of memory"}
            _reply(replies, reply)
            return
        _reply(replies, reply)


def _most_memory() -> int:
    """The most memory this process has held, bytes.

    Linux counts the memory of the process that started this one in `ru_maxrss`, which would be torch's and the model's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        status = []
    lines = [line for line in status if line.startswith("VmHWM:")]
    if lines:
        return int(lines[0].split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reply(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
