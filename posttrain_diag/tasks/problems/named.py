"""Tasks that the field knows by a name: where on the hub they are, and which part of them is measured on.

    diag analyze MODEL --tasks gsm8k          the test split of openai/gsm8k

A row of the table: name -> repository, configuration, split, and what a reader of the results must know. Which columns
are read follows from the rows (`layouts.py`). Tasks that the tool cannot judge by itself are refused (`ifeval`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from posttrain_diag.errors import TaskError


@dataclass(frozen=True)
class Named:
    """Where a known set of tasks is."""

    repository: str
    """owner/name on the hub."""
    config: str | None
    """None where there is only one."""
    split: str
    shown: str
    """What the tasks are, in a few words."""
    note: str = ""
    """What a reader of the results must know."""
    refused: str = ""
    """Why they cannot be judged without a verifier of the user's; empty for most."""

    @property
    def address(self) -> str:
        """The split as `--tasks` takes it, were it not named."""
        config = "" if self.config is None else f":{self.config}"
        return f"{self.repository}{config}:{self.split}"


IFEVAL = (
    "IFEval: its instruction checks are not part of this tool, and the prompts have no answer to compare with; give "
    "--verifier path.py:function that checks `instruction_id_list` and `kwargs` (both arrive as columns)"
)
_RUNS = "tests run the model's code: --allow-code"
_SHUFFLED = "the order of the options is drawn from a hash of the question"
NAMED: dict[str, Named] = {
    # mathematics
    "gsm8k": Named("openai/gsm8k", "main", "test", "1,319 grade-school word problems"),
    "math500": Named("HuggingFaceH4/MATH-500", None, "test", "500 competition problems"),
    "aime24": Named("HuggingFaceH4/aime_2024", None, "train", "30 problems of AIME 2024"),
    "aime25": Named("math-ai/aime25", None, "test", "30 problems of AIME 2025"),
    "svamp": Named("ChilleD/SVAMP", None, "test", "300 short word problems"),
    # code
    "humaneval": Named("openai/openai_humaneval", None, "test", "164 Python functions", _RUNS),
    "humaneval+": Named("evalplus/humanevalplus", None, "test", "the same with 80 times the tests", _RUNS),
    "mbpp": Named("google-research-datasets/mbpp", "full", "test", "500 short Python tasks", _RUNS),
    "mbpp-sanitized": Named(
        "google-research-datasets/mbpp", "sanitized", "test", "257 of them, checked by hand", _RUNS
    ),
    "mbpp+": Named("evalplus/mbppplus", None, "test", "378 of them with 35 times the tests", _RUNS),
    "cruxeval": Named("cruxeval-org/cruxeval", None, "test", "800 Python functions whose output is asked for"),
    # knowledge and reasoning, multiple choice
    "mmlu": Named("cais/mmlu", "all", "test", "14,042 questions of 57 subjects"),
    "mmlu-pro": Named("TIGER-Lab/MMLU-Pro", None, "test", "12,032 questions with up to ten options"),
    "gpqa": Named(
        "Idavidrein/gpqa", "gpqa_diamond", "train", "198 graduate-level questions (diamond)", f"gated; {_SHUFFLED}"
    ),
    "gpqa-main": Named("Idavidrein/gpqa", "gpqa_main", "train", "448 graduate-level questions", f"gated; {_SHUFFLED}"),
    "arc-challenge": Named("allenai/ai2_arc", "ARC-Challenge", "test", "1,172 science questions, the hard ones"),
    "arc-easy": Named("allenai/ai2_arc", "ARC-Easy", "test", "2,376 science questions"),
    "commonsenseqa": Named("tau/commonsense_qa", None, "validation", "1,221 questions of common sense"),
    "openbookqa": Named("allenai/openbookqa", "main", "test", "500 elementary science questions"),
    "hellaswag": Named("Rowan/hellaswag", None, "validation", "10,042 beginnings to go on with"),
    "winogrande": Named("allenai/winogrande", "winogrande_xl", "validation", "1,267 pronouns to resolve"),
    "piqa": Named("baber/piqa", None, "validation", "1,838 questions on everyday physics"),
    "siqa": Named("lighteval/siqa", None, "validation", "1,954 questions on social situations"),
    "sciq": Named("allenai/sciq", None, "test", "1,000 science exam questions", _SHUFFLED),
    "race": Named("ehovy/race", "high", "test", "3,498 questions on passages, for high-school students"),
    "truthfulqa": Named("truthfulqa/truthful_qa", "multiple_choice", "validation", "817 questions (mc1)", _SHUFFLED),
    "medmcqa": Named("openlifescienceai/medmcqa", None, "validation", "4,183 medical entrance questions"),
    # short answers
    "boolq": Named("google/boolq", None, "validation", "3,270 yes-no questions on passages"),
    "triviaqa": Named("mandarjoshi/trivia_qa", "rc.nocontext", "validation", "17,944 trivia questions"),
    "nq-open": Named("google-research-datasets/nq_open", None, "validation", "3,610 questions of web users"),
    # instructions
    "ifeval": Named(
        "google/IFEval", None, "train", "541 prompts with checkable instructions (needs --verifier)", refused=IFEVAL
    ),
}
ALIASES = {
    **{"math-500": "math500", "aime2024": "aime24", "aime2025": "aime25", "gpqa-diamond": "gpqa"},
    **{"humanevalplus": "humaneval+", "mbppplus": "mbpp+", "arc": "arc-challenge", "arc-c": "arc-challenge"},
    **{"mmlu_pro": "mmlu-pro", "arc_challenge": "arc-challenge", "arc_easy": "arc-easy", "csqa": "commonsenseqa"},
    **{"math_500": "math500", "gpqa_diamond": "gpqa", "social_iqa": "siqa", "nq": "nq-open"},
}
"""Other spellings."""


def named(source: str) -> Named | None:
    """The known tasks that a name means, in whatever case; None for other names."""
    name = source.casefold()
    return NAMED.get(ALIASES.get(name, name))


def refuse_unjudged(source: str) -> None:
    """Stop before anything is loaded where a name means tasks that the tool cannot judge.

    Raises:
        TaskError: it does, and no file of that name is there.
    """
    known = named(source)
    if known is not None and known.refused and not Path(source).exists():
        raise TaskError(f"{source}: {known.refused}")
