"""Our hf engine beside `generate`, continuous batching, vLLM and lm-eval; exactness; end to end; a GPU.

`python -m benchmarks engines --vllm-python=PYTHON --lmeval-python=PYTHON [--quick] [--only=sampling,scoring,...]`

Each contestant has its own process and the same number of threads; runs alternate A B C A B C; a ratio compares runs of
one round. Timings are kept as they come under --work: an interrupted part goes on, a finished one starts anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.engines import exact, gpu, report
from benchmarks.engines.driver import ROOT, Contestant, Machine, NotRun, Raw, Team, Worker, grouped
from benchmarks.engines.end_to_end import end_to_end
from benchmarks.engines.models import RECIPE, SHAPES, Shape, Work, make_model, make_work

BY_NAME_ONLY = "needs environments with vLLM and lm-eval, and hours"


@dataclass(frozen=True)
class Size:
    """How much is run for one model."""

    shape: str
    prompts: int
    draws: int
    slow_prompts: int
    """Prompts for contestants whose rate does not depend on their number."""
    tuning_prompts: int
    score_prompts: int


FULL = (Size("150m", 64, 64, 4, 2, 8), Size("tiny", 64, 64, 16, 8, 64))
QUICK = (Size("small", 8, 16, 2, 1, 4), Size("tiny", 8, 16, 4, 1, 8))
PARTS = ("limits", "sampling", "scoring", "exact", "end_to_end", "gpu")


def samplers(size: Size, draws: int, *, quick: bool) -> list[Contestant]:
    """Who draws. In each group the first is what a user would write first; with `quick` one of each."""
    slow = size.slow_prompts
    several = max(1, 256 // draws)
    page = {"page_size": 32, "num_blocks": 4096, "max_batch_tokens": 2048, "allow_block_sharing": True}
    out = [
        Contestant("hf engine", "ours", rows=512 if size.shape != "tiny" else 1024),
        Contestant("generate", "generate", prompts=slow, group="generate", rows=draws),
        Contestant("generate, static cache", "generate", {"static_cache": True}, slow, "generate", draws),
        Contestant("generate, shared prefill", "generate", {"shared_prefill": True}, slow, "generate", draws),
        Contestant(
            f"generate, {several} prompts a call", "generate", {"prompts_per_call": several}, slow, "generate", 256
        ),
        Contestant("continuous batching", "continuous", {"batching": page}, slow, "continuous"),
        Contestant(
            "continuous batching, pages of 256",
            "continuous",
            {"batching": {**page, "page_size": 256, "num_blocks": 1024}},
            slow,
            "continuous",
        ),
        Contestant("vLLM", "vllm", {"block_size": 32, "max_num_seqs": 256}, group="vllm"),
        Contestant("vLLM, eager", "vllm", {"block_size": 32, "max_num_seqs": 256, "enforce_eager": True}, group="vllm"),
    ]
    if size.shape == "tiny":
        out += [
            Contestant("vLLM, 1,024 rows", "vllm", {"block_size": 32, "max_num_seqs": 1024}, group="vllm", rows=1024),
            Contestant("lm-eval", "lm-eval", {"batch_size": 64}, 2 * slow, "lm-eval", 64),
            Contestant("lm-eval, batches of 512", "lm-eval", {"batch_size": 512}, 2 * slow, "lm-eval", 512),
        ]
    if quick:  # compiling takes a minute
        return [
            next(one for one in out if one.kind == kind and one.name != "vLLM")
            for kind in dict.fromkeys(c.kind for c in out)
        ]
    return out


def scorers(size: Size, *, quick: bool) -> list[Contestant]:
    """Who scores."""
    vllm = {"block_size": 32, "max_num_seqs": 256}
    return [
        Contestant("hf engine", "ours"),
        Contestant("padded forward", "padded", {"rows": 32}, size.slow_prompts, rows=32),
        Contestant("vLLM prompt_logprobs", "vllm", {**vllm, "enforce_eager": True} if quick else vllm),
    ]


class Bench:
    """One invocation: where things are, who runs, what came out."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.machine = Machine(args.threads, args.vllm_python, args.lmeval_python)
        self.work: Path = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.sizes = QUICK if args.quick else FULL
        if args.models:
            self.sizes = tuple(size for size in self.sizes if size.shape in args.models.split(","))
        self.repeats: int = args.repeats or (1 if args.quick else 3)

    def raw(self, part: str, **settings: Any) -> Raw:
        """The part's timings on file."""
        return Raw(
            self.work, part, {"recipe": RECIPE, "threads": self.args.threads, "repeats": self.repeats, **settings}
        )

    def spec(self, size: Size) -> tuple[Shape, dict[str, Any]]:
        """Model and work as every contestant gets them."""
        shape = SHAPES[size.shape]
        model = make_model(shape, self.work / "models")
        work = make_work(shape, size.prompts, size.draws)
        return shape, {"name": shape.name, "model": str(model), "dtype": shape.dtype, "work": asdict(work)}

    def limits(self) -> dict[str, Any]:
        """Part: what the machine can do."""
        products: list[tuple[str, str, int, int, int]] = []
        for size in self.sizes:
            shape = SHAPES[size.shape]
            products += [
                (f"{shape.name}: 256 rows x layer", shape.dtype, 256, shape.hidden, shape.inner),
                (f"{shape.name}: 256 rows x head", shape.dtype, 256, shape.hidden, shape.vocab),
            ]
        options = {"gib": 0.5 if self.args.quick else 2, "matmul": 2048 if self.args.quick else 4096}
        worker = Worker(
            Contestant("limits", "limits", {**options, "products": products}), self.machine, {"name": "all"}, self.work
        )
        measured = worker.order("measure")
        worker.close()
        return {key: value for key, value in measured.items() if key not in {"cpu_s", "wall_s", "peak_bytes"}}

    def sampling(self) -> dict[str, Any]:
        """Part: draws."""
        raw = self.raw("sampling", sizes=[asdict(size) for size in self.sizes])
        limits = self.limits()
        tables: dict[str, Any] = {}
        for size in self.sizes:
            shape, spec = self.spec(size)
            work = make_work(shape, size.prompts, size.draws)
            everyone = samplers(size, size.draws, quick=self.args.quick)
            with Team(self.machine, spec, self.work, raw) as team:
                chosen = self._tune(team, everyone, work, size)
                for repeat in range(self.repeats):
                    for one in chosen:
                        which = work.spread(one.prompts) if one.prompts else list(range(size.prompts))
                        team.run(one, "sample", (which, size.draws, 1000 + repeat), repeat=repeat)
            tables[shape.name] = report.sampling_table(raw, shape, work, everyone, chosen, limits, size.draws)
        raw.done()
        return {"limits": limits, "models": tables, "rows": report.kept_rows(raw)}

    def _tune(self, team: Team, everyone: list[Contestant], work: Work, size: Size) -> list[Contestant]:
        """One short run of each; of a group the fastest goes on, of those who are no servers the first as well."""
        chosen: list[Contestant] = []
        for group in grouped(everyone):
            if len(group) == 1:
                chosen += group
                continue
            rates: list[float] = []
            # Who batches over prompts must have enough of them to fill its batch.
            n = size.tuning_prompts * (4 if group[0].kind in {"vllm", "lm-eval"} else 1)
            for one in group:
                row = team.run(one, "sample", (work.spread(n), size.draws, 1), repeat="tuning")
                rates.append(row["tokens"] / row["cpu_s"] if row else 0.0)
                team.dismiss(one)
            best = group[rates.index(max(rates))]
            keep_first = group[0].kind in {"generate", "lm-eval"}
            chosen += [group[0], best] if keep_first and best is not group[0] else [best]
        return chosen

    def scoring(self) -> dict[str, Any]:
        """Part: teacher-forced scores."""
        raw = self.raw("scoring", sizes=[asdict(size) for size in self.sizes])
        limits = self.limits()
        tables: dict[str, Any] = {}
        for size in self.sizes[-1:] if self.args.quick else self.sizes:
            shape, spec = self.spec(size)
            work = make_work(shape, size.prompts, size.draws)
            chosen = scorers(size, quick=self.args.quick)
            with Team(self.machine, spec, self.work, raw) as team:
                for repeat in range(self.repeats):
                    for one in chosen:
                        n = min(one.prompts or size.score_prompts, size.score_prompts)
                        team.run(one, "score", (work.spread(n), size.draws), repeat=repeat)
                same = work.spread(1)
                for one in chosen:
                    team.run(one, "score", (same, size.draws), repeat="agreement")
            tables[shape.name] = report.scoring_table(raw, shape, work, chosen, limits, size.draws, size.score_prompts)
        raw.done()
        return {"limits": limits, "models": tables, "rows": report.kept_rows(raw)}

    def exact(self) -> dict[str, Any]:
        """Part: is what is drawn and scored right?"""
        return exact.exact(self.work, quick=self.args.quick)

    def end_to_end(self) -> dict[str, Any]:
        """Part: `diag analyze` on 1,000 problems beside lm-eval."""
        return end_to_end(self.work, self.machine, self.raw, self.repeats, quick=self.args.quick)

    def gpu(self) -> dict[str, Any]:
        """Part: the same sampling on a GPU."""
        return gpu.gpu(self.work, self.args.threads, self.raw, quick=self.args.quick)


def _environment(name: str) -> str | None:
    """The interpreter of an environment that the Makefile makes, if it is there."""
    python = ROOT / name / "bin" / "python"
    return str(python) if python.exists() else None


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks engines")
    parser.add_argument("--quick", action="store_true", help="small sizes: checks the harness, not the engines")
    parser.add_argument("--only", default=",".join(PARTS[1:]), help=f"parts, of {', '.join(PARTS[1:])}")
    parser.add_argument("--models", default="", help="of the sizes' models only these, by comma")
    parser.add_argument("--repeats", type=int, default=0, help="rounds; default 3, --quick 1")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant")
    parser.add_argument("--vllm-python", default=_environment(".venv-vllm"))
    parser.add_argument("--lmeval-python", default=_environment(".venv-lmeval"))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "bench-engines")
    parser.add_argument("--results", default="", help="folder of benchmarks/ to write; default engines, engines-quick")
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(PARTS[1:])}")
    if args.quick:
        args.work = args.work / "quick"
    args.work = args.work.resolve()
    return args


def main() -> None:
    """Run the parts asked for; parts of earlier runs stay in the results with their dates."""
    args = arguments()
    bench = Bench(args)
    name = args.results or ("engines-quick" if args.quick else "engines")
    path = ROOT / "benchmarks" / name / "results.json"
    parts: dict[str, Any] = json.loads(path.read_text())["parts"] if path.exists() else {}
    for part in args.only.split(","):
        try:
            found = getattr(bench, part)()
        except NotRun as why:
            found = {"not_run": str(why)}
        parts[part] = {"date": datetime.date.today().isoformat(), "load_1min": round(os.getloadavg()[0], 1), **found}
        lines = report.lines(parts, PARTS[1:], quick=args.quick)
        written = machine.write(name, "Engines", {"threads": args.threads, "parts": parts}, lines)
    print(written.read_text())
    wrong = report.failures(parts)
    if wrong:
        raise SystemExit("not as it should be:\n" + "\n".join(f"- {line}" for line in wrong))


if __name__ == "__main__":
    main()
