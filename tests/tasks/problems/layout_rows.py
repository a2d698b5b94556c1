"""A row of every layout, and the problem that it must become."""

from __future__ import annotations

import json
from typing import Any

from posttrain_diag.tasks.problems.layouts import MATH
from posttrain_diag.types import Pair

USER = {"role": "user", "content": "Two plus two?"}
ASSISTANT = {"role": "assistant", "content": "4"}

ROSE = {"type": "choice", "options": {"A": "sky", "B": "rose"}}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "native": (
        {
            "id": "S-17", "prompt": "S:abcde=", "answer": "bcdea", "verifier": {"type": "exact", "strip": False},
            "demos": ["bcdea"], "pairs": [{"chosen": "bcdea", "rejected": "edcba"}], "tags": ["S"], "source": "zoo",
        },
        {
            "id": "S-17", "prompt": "S:abcde=", "answer": "bcdea", "verifier": {"type": "exact", "strip": False},
            "demos": ("bcdea",), "pairs": (Pair("bcdea", "edcba"),), "tags": ("S",), "source": "zoo",
        },
    ),
    "native (chat)": (
        {"messages": [USER], "answer": 4, "verifier": {"type": "numeric"}},
        {"id": "row-1", "prompt": None, "messages": (USER,), "answer": "4", "source": "tasks.jsonl:1"},
    ),
    "native (demos)": (
        {"prompt": "2+2=", "demos": ["4"], "answer": "4"},
        {"demos": ("4",), "verifier": {"type": "numeric"}},
    ),
    "native (pairs)": (
        {"prompt": "2+2=", "pairs": [{"chosen": "4", "rejected": "5"}], "answer": "4"},
        {"pairs": (Pair("4", "5"),), "verifier": {"type": "numeric"}},
    ),
    "humaneval": (
        {
            "task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        },
        {
            "id": "T/0", "prompt": "def f(x):\n", "demos": ("    return x\n",), "answer": None,
            "verifier": {
                "type": "code", "test": "def check(candidate):\n    assert candidate(1) == 1\n", "entry_point": "f",
            },
        },
    ),
    "mbpp": (
        {"task_id": 1, "text": "Write f.", "code": "def f(x): return x", "test_list": ["assert f(1) == ONE"],
         "test_setup_code": "ONE = 1"},
        {
            "id": "1", "prompt": "Write f.\nYour code should pass these tests:\n\nassert f(1) == ONE\n",
            "demos": ("def f(x): return x",), "verifier": {"type": "code", "test": "ONE = 1\nassert f(1) == ONE"},
        },
    ),
    "mbpp (sanitized)": (
        {"task_id": 2, "prompt": "Write f.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"]},
        {"id": "2", "prompt": "Write f.\nYour code should pass these tests:\n\nassert f(1) == 1\n"},
    ),
    "verl": (
        {
            "data_source": "openai/gsm8k", "prompt": [USER], "reward_model": {"style": "rule", "ground_truth": "4"},
            "extra_info": {"split": "train", "index": 0}, "ability": "math",
        },
        {"messages": (USER,), "answer": "4", "verifier": {"type": "numeric"}, "tags": ("openai/gsm8k",)},
    ),
    "unpaired": (
        {"prompt": "2+2=", "completion": "4", "label": True, "answer": "4"},
        {"prompt": "2+2=", "demos": ("4",), "pairs": (), "verifier": {"type": "numeric"}},
    ),
    "preference": (
        {"prompt": "Capital?", "chosen": "Paris", "rejected": "Rome", "answer": "Paris"},
        {"pairs": (Pair("Paris", "Rome"),), "demos": (), "verifier": {"type": "words"}},
    ),
    "cruxeval": (
        {"code": "def f(x):\n    return [x]", "input": "1", "output": "[1]", "id": "sample_0"},
        {
            "id": "sample_0", "prompt": "def f(x):\n    return [x]\n\nassert f(1) ==", "answer": "[1]",
            "verifier": {"type": "literal"},
        },
    ),
    "math": (
        {"problem": "1+1?", "solution": "It is $\\boxed{\\frac{4}{2}}$.", "answer": "2", "subject": "Algebra", "level": 1,
         "unique_id": "test/1.json"},
        {
            "id": "test/1.json", "prompt": "1+1?", "answer": "2", "demos": ("It is $\\boxed{\\frac{4}{2}}$.",),
            "verifier": dict(MATH), "tags": ("Algebra", "1"),
        },
    ),
    "gsm8k": (
        {"question": "How many?", "answer": "1,000 + 319 = <<1000+319=1319>>1,319\n#### 1,319"},
        {
            "id": "row-1", "prompt": "How many?", "answer": "1,319", "verifier": {"type": "numeric"},
            "demos": ("1,000 + 319 = <<1000+319=1319>>1,319\n#### 1,319",),
        },
    ),
    "verifiers": (
        {"question": "Capital of France?", "answer": "Paris", "info": {"level": 1}, "example_id": 7},
        {"id": "7", "prompt": "Capital of France?", "answer": "Paris", "verifier": {"type": "words"}},
    ),
    "messages": (
        {"messages": [USER, ASSISTANT], "answer": "4"},
        {"prompt": None, "messages": (USER,), "demos": ("4",), "verifier": {"type": "numeric"}},
    ),
    "prompt": (
        {"prompt": "2+2=", "completion": "4", "answer": "4", "uid": "u1"},
        {"id": "u1", "prompt": "2+2=", "demos": ("4",), "answer": "4", "verifier": {"type": "numeric"}},
    ),
    "ifeval": (
        {"key": 1, "prompt": "Write.", "instruction_id_list": ["x"], "kwargs": [{}], "answer": "y"},
        {"prompt": "Write."},
    ),
    "apps": (
        {"question": "Write f.", "input_output": json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [[2]]}),
         "solutions": json.dumps(["def f(x):\n    return x + 1"]), "starter_code": "def f(x):"},
        {"prompt": "Write f.\n\ndef f(x):", "demos": ("def f(x):\n    return x + 1",)},
    ),
    "mmlu": (
        {"question": "Red?", "choices": ["sky", "rose"], "answer": 1, "subject": "colours"},
        {"prompt": "Red?\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE, "tags": ("colours",)},
    ),
    "mmlu-pro": (
        {"question_id": 7, "question": "Red?", "options": ["sky", "rose"], "answer": "B", "answer_index": 1},
        {"id": "7", "prompt": "Red?\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE},
    ),
    "choices": (
        {"prompt": [{"role": "user", "content": "Red?"}], "choices": ["sky", "rose"], "answer": "rose"},
        {"messages": ({"role": "user", "content": "Red?\nA. sky\nB. rose\nAnswer:"},), "answer": "B", "verifier": ROSE},
    ),
    "options": (
        {"prompt": "Red?\n(A) sky\n(B) rose", "options": ["sky", "rose"], "answer": "B"},
        {"prompt": "Red?\n(A) sky\n(B) rose", "answer": "B", "verifier": ROSE},
    ),
    "inspect": ({"input": "Red?", "choices": ["sky", "rose"], "target": "B"}, {"answer": "B", "verifier": ROSE}),
    "arc": (
        {"id": "m", "question": "Red?", "choices": {"text": ["sky", "rose"], "label": ["1", "2"]}, "answerKey": "2"},
        {"id": "m", "prompt": "Red?\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE},
    ),
    "arc (original)": (
        {"id": "m", "answerKey": "B", "question": {
            "stem": "Red?", "choices": [{"text": "sky", "label": "A"}, {"text": "rose", "label": "B"}]}},
        {"prompt": "Red?\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE},
    ),
    "openbookqa": (
        {"question_stem": "Red is a", "choices": {"text": ["sky", "rose"], "label": ["A", "B"]}, "answerKey": "B"},
        {"prompt": "Red is a\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE},
    ),
    "ceval": (
        {"question": "Red?", "A": "sky", "B": "rose", "C": "sea", "D": "sun", "answer": "B"},
        {"prompt": "Red?\nA. sky\nB. rose\nC. sea\nD. sun\nAnswer:", "answer": "B"},
    ),
    "gpqa": (
        {"Question": "Red?", "Correct Answer": "rose", "Incorrect Answer 1": "sky", "Incorrect Answer 2": "sea",
         "Incorrect Answer 3": "sun", "Record ID": "r1"},
        {},
    ),
    "sciq": (
        {"question": "Red?", "correct_answer": "rose", "distractor1": "sky", "distractor2": "sea",
         "distractor3": "sun", "support": "Roses are red."},
        {},
    ),
    "truthfulqa": ({"question": "Red?", "mc1_targets": {"choices": ["rose", "sky"], "labels": [1, 0]}}, {}),
    "hellaswag": (
        {"ctx": "A rose", "endings": ["swims.", "is red."], "label": "1", "ind": 4},
        {"prompt": "A rose\nWhich continuation is the most likely?\nA. swims.\nB. is red.\nAnswer:", "answer": "B"},
    ),
    "swag": (
        {"sent1": "A rose.", "sent2": "It", "ending0": "swims", "ending1": "is red", "ending2": "eats",
         "ending3": "flies", "label": 1},
        {"answer": "B"},
    ),
    "piqa": (
        {"goal": "Water a rose", "sol1": "Fire", "sol2": "Water", "label": 1},
        {"prompt": "Water a rose\nA. Fire\nB. Water\nAnswer:", "answer": "B"},
    ),
    "copa": (
        {"premise": "It rained.", "question": "effect", "choice1": "It dried.", "choice2": "It got wet.", "label": 1},
        {"prompt": "It rained.\nWhat happened as a result?\nA. It dried.\nB. It got wet.\nAnswer:", "answer": "B"},
    ),
    "winogrande": (
        {"sentence": "The cup is in _.", "option1": "the bag", "option2": "the box", "answer": "2"},
        {"prompt": "The cup is in _.\nWhat does _ stand for?\nA. the bag\nB. the box\nAnswer:", "answer": "B"},
    ),
    "siqa": (
        {"context": "Ann fell.", "question": "How is she?", "answerA": "glad", "answerB": "hurt", "answerC": "rich",
         "label": "2"},
        {"prompt": "Ann fell.\n\nHow is she?\nA. glad\nB. hurt\nC. rich\nAnswer:", "answer": "B"},
    ),
    "medmcqa": (
        {"id": "m", "question": "Red?", "opa": "sky", "opb": "rose", "opc": "sea", "opd": "sun", "cop": 1},
        {"id": "m", "answer": "B"},
    ),
    "aqua": (
        {"question": "1 + 1?", "options": ["A)1", "B)2"], "correct": "B", "rationale": "so"},
        {"prompt": "1 + 1?\nA. 1\nB. 2\nAnswer:", "answer": "B"},
    ),
    "logiqa": (
        {"context": "Roses are red.", "question": "Red?", "options": ["sky", "rose"], "label": 1},
        {"prompt": "Roses are red.\n\nRed?\nA. sky\nB. rose\nAnswer:", "answer": "B", "verifier": ROSE},
    ),
    "agieval": (
        {"query": "Q: Red? Answer Choices: (A)sky (B)rose", "choices": ["(A)sky", "(B)rose"], "gold": [1]},
        {"prompt": "Q: Red? Answer Choices: (A)sky (B)rose", "answer": "B", "verifier": ROSE},
    ),
    "problem": (
        {"problem": "1+1?", "answer": "2", "id": 60, "year": 2024},
        {"id": "60", "prompt": "1+1?", "answer": "2", "demos": ()},
    ),
    "boolq": (
        {"question": "is it red", "passage": "Roses are red.", "answer": True},
        {"prompt": "Roses are red.\n\nis it red? Answer yes or no.", "answer": "yes"},
    ),
    "boolq (super_glue)": (
        {"question": "is it red", "passage": "Skies are blue.", "label": 0},
        {"prompt": "Skies are blue.\n\nis it red? Answer yes or no.", "answer": "no"},
    ),
    "answers": (
        {"question": "Who?", "context": "Ann did.", "answers": {"text": ["Ann", "Ann"], "answer_start": [0, 0]}},
        {"prompt": "Ann did.\n\nWho?", "answer": "Ann"},
    ),
    "answers (golden)": ({"question": "Who?", "golden_answers": ["Ann"]}, {"prompt": "Who?", "answer": "Ann"}),
    "answers (possible)": ({"question": "Who?", "possible_answers": '["Ann"]'}, {"prompt": "Who?", "answer": "Ann"}),
    "alpaca": (
        {"instruction": "Add.", "input": "2, 2", "output": "The answer is 4."},
        {"prompt": "Add.\n\n2, 2", "answer": "4", "demos": ("The answer is 4.",)},
    ),
    "dolly": (
        {"instruction": "Add.", "context": "2, 2", "response": "The answer is 4.", "category": "x"},
        {"prompt": "Add.\n\n2, 2", "answer": "4"},
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "The answer is 4."}]},
        {"messages": ({"role": "user", "content": "2 + 2?"},), "answer": "4", "demos": ("The answer is 4.",)},
    ),
    "query": (
        {"query": "2 + 2?", "response": "So 4.\nThe answer is: 4", "type": "GSM"},
        {"prompt": "2 + 2?", "answer": "4"},
    ),
    "response": ({"prompt": "2 + 2?", "response": "#### 4"}, {"prompt": "2 + 2?", "answer": "4"}),
    "answers (prompt)": ({"prompt": "Who?", "answers": ["Ann"]}, {"prompt": "Who?", "answer": "Ann"}),
    "input": ({"input": "Who?", "target": "Ann"}, {"prompt": "Who?", "answer": "Ann"}),
}  # fmt: skip
"""layout -> (a row, what the problem must be)."""
