"""Python callables as verifiers: one native signature, and the reward functions of four libraries adapted to it.

    native    verify(completion, problem) -> Judgement | bool | float | dict
    TRL       f(prompts, completions, **columns) -> list[float | None]
    verl      compute_score(data_source, solution_str, ground_truth, extra_info=None) -> float | dict
    OpenRLHF  reward_func(queries, prompts, labels) -> list | tensor | {"rewards": ...}
    verifiers f(prompt, completion, answer, state) -> float

A callable is recognised by the names of its parameters. A score of 1 or more passes, less fails; None, NaN and an
exception are an error of the verifier, never a failure of the model.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"function", "columns"})
_SIGNATURES = (
    "(completion, problem), TRL (prompts, completions, **columns), verl (data_source, solution_str, ground_truth), "
    "OpenRLHF (queries, prompts, labels), verifiers (prompt, completion, answer, state)"
)
_ANSWER_NAMES = ("answer", "answers", "ground_truth", "solution", "target", "label", "gold")
_OF_THE_TRAINER = frozenset({"completion_ids", "trainer_state", "environments"})
_LOGGERS = ("log_extra", "log_metric")
"""Names of the callables that TRL hands to a reward function for logging; what they are told is dropped here."""
_Call = Callable[[str, Problem], Any]


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that asks a Python callable.

    Args:
        spec: the verifier as data: `function` is "path.py:name" or "package.module:name"; `columns` are the row's
            other columns for callables that want them.

    Raises:
        VerifierError: the callable cannot be loaded, or takes parameters that no known signature has.
    """
    name = spec["function"]
    columns = spec.get("columns", {})
    if not isinstance(name, str) or ":" not in name:
        raise VerifierError(
            f'a python verifier\'s \'function\' is "path.py:name" or "package.module:name"; got {name!r}'
        )
    if not isinstance(columns, dict):
        raise VerifierError(f"a python verifier's 'columns' is an object of extra columns; got {columns!r}")
    call = adapt(load_function(name), cast("dict[str, Any]", columns), name)

    def judge(completion: str, problem: Problem) -> Judgement:
        try:
            value = call(completion, problem)
            if inspect.isawaitable(value):
                import asyncio

                value = asyncio.run(_wait(value))
        except Exception as error:  # noqa: BLE001  the callable is foreign: whatever it raises is data, not a crash
            return _failed(f"{name} raised {type(error).__name__}: {error}")
        return to_judgement(value, name)

    return judge


@lru_cache(maxsize=64)
def load_function(name: str) -> Callable[..., Any]:
    """The callable that "path.py:name" or "package.module:name" names.

    Raises:
        VerifierError: no such file, module or callable, or importing it fails.
    """
    where, _, attribute = name.rpartition(":")
    try:
        module = _load_file(where) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise VerifierError(
            f"cannot load the verifier {name!r}: {type(error).__name__}: {error}; give path.py:function or "
            "package.module:function"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise VerifierError(
            f"{where} has no callable {attribute!r}: it has {', '.join(public[:20]) or 'no public callables'}"
        )
    return cast("Callable[..., Any]", function)


def fingerprint(name: str) -> str:
    """What identifies a callable in a hash: its name and, for a file, the file's content instead of its folder."""
    where, _, attribute = name.rpartition(":")
    path = Path(where)
    if not where.endswith(".py") or not path.is_file():
        return name
    return f"{path.name}:{attribute}:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def check(spec: Mapping[str, Any]) -> None:
    """Make sure that a TRL reward function is given every column it asks for.

    Args:
        spec: a python verifier; one without `function` has nothing to check.

    Raises:
        VerifierError: it asks for a column that the row lacks, or for what exists only inside a trainer.
    """
    name = spec.get("function")
    if not isinstance(name, str):
        return
    parameters = inspect.signature(load_function(name)).parameters.values()
    required = {p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    if "completions" not in required or "queries" in required:
        return
    inside = sorted(required & _OF_THE_TRAINER)
    if inside:
        raise VerifierError(
            f"{name} asks for {', '.join(inside)}, which exist only while TRL trains: a verifier judges the text of a "
            "completion; give these parameters a default (= None), or judge with a function that does not need them"
        )
    columns = cast("dict[str, Any]", spec.get("columns", {}))
    missing = sorted(required - {"prompts", "completions", "id", *_ANSWER_NAMES, *_LOGGERS, *columns})
    if missing:
        raise VerifierError(
            f"{name} asks for the column{'s' * (len(missing) > 1)} {', '.join(missing)}: this row has "
            f"{', '.join(sorted(columns)) or 'none beside those that were read'}; add it, or give it a default"
        )


def adapt(function: Callable[..., Any], columns: Mapping[str, Any], name: str) -> _Call:
    """Bring a callable to the native signature by the names of its parameters.

    Raises:
        VerifierError: its parameters belong to no known signature.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise VerifierError(f"{name} does not say which parameters it takes: {error}") from error
    names = set(parameters)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def chosen(values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values) if open_ended else {key: value for key, value in values.items() if key in names}

    if "solution_str" in names:
        return lambda c, p: function(**chosen(_verl_arguments(c, p, columns)))
    if "queries" in names:
        return lambda c, p: _one(function([p.prompt_text + c], [p.prompt_text], [p.answer]), name)
    if "completions" in names:
        return lambda c, p: _one(function(**chosen(_trl_arguments(c, p, columns))), name)
    if "completion" in names and names & {"answer", "state", "info", "prompt"}:
        return lambda c, p: function(**chosen(_verifiers_arguments(c, p, columns)))
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if len(required) <= 2 <= len(positional):
        return function
    raise VerifierError(
        f"{name}({', '.join(parameters)}) has parameters of no known verifier signature: accepted are {_SIGNATURES}"
    )


def to_judgement(value: Any, name: str) -> Judgement:
    """Turn what a callable returned into a judgement."""
    if isinstance(value, Judgement):
        return value
    if isinstance(value, dict):
        return _from_dict(cast("dict[str, Any]", value), name)
    if isinstance(value, bool):
        return Judgement(value, value, None, score=float(value))
    score = _number(value)
    if score is None:
        return _failed(f"{name} returned {value!r}: expected a Judgement, bool, number or dict")
    if math.isnan(score):
        return _failed(f"{name} returned NaN")
    return Judgement(score >= 1.0, score >= 1.0, None, score=score if 0.0 <= score <= 1.0 else None)


def _from_dict(value: Mapping[str, Any], name: str) -> Judgement:
    error = value.get("error")
    if error:
        return _failed(f"{name}: {error}")
    extracted = value.get("extracted", value.get("pred"))
    verdict = next(
        (value[k] for k in ("strict", "passed", "correct", "acc", "score") if value.get(k) is not None), None
    )
    if verdict is None:
        keys = sorted(map(str, value))
        return _failed(f"{name} returned a dict with {keys}: expected 'score' or 'strict' (and 'lenient', 'extracted')")
    base = to_judgement(verdict, name)
    if base.error is not None:
        return base
    score = _number(value.get("score"))
    return Judgement(
        base.strict,
        base.strict or bool(value.get("lenient", False)),
        None if extracted is None else str(extracted),
        score=score if score is not None and 0.0 <= score <= 1.0 else base.score,
    )


def _number(value: Any) -> float | None:
    """The value as a float; None for anything that is not one number (0-d arrays and tensors are)."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 1) == 1:
        value = item()
    return float(value) if isinstance(value, (int, float)) else None


def _one(value: Any, name: str) -> Any:
    """The single element of a batch callable's answer."""
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("rewards")
    tolist = getattr(value, "tolist", None)
    items: Any = tolist() if callable(tolist) else value
    if isinstance(items, (list, tuple)):
        batch: list[Any] = list(items)
        if len(batch) != 1:
            raise ValueError(f"{name} returned {len(batch)} values for one completion")
        return batch[0]
    return items


async def _wait(value: Awaitable[Any]) -> Any:
    return await value


def _failed(error: str) -> Judgement:
    return Judgement(False, False, None, error=error[:1000])


def _turns(completion: str, problem: Problem) -> tuple[Any, Any]:
    """Prompt and completion as the libraries hand them over: texts, or chat turns for a chat prompt."""
    if problem.messages is None:
        return problem.prompt_text, completion
    return [dict(m) for m in problem.messages], [{"role": "assistant", "content": completion}]


def _trl_arguments(completion: str, problem: Problem, columns: Mapping[str, Any]) -> dict[str, Any]:
    prompt, turn = _turns(completion, problem)
    row = {**dict.fromkeys(_ANSWER_NAMES, problem.answer), "id": problem.id, **columns}
    loggers = dict.fromkeys(_LOGGERS, _unheard)
    return {"prompts": [prompt], "completions": [turn], **loggers, **{key: [value] for key, value in row.items()}}


def _unheard(*_: Any, **__: Any) -> None:
    """Take what a reward function logs, and drop it."""


def _verl_arguments(completion: str, problem: Problem, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data_source": columns.get("data_source", problem.tags[0] if problem.tags else ""),
        "solution_str": completion,
        "ground_truth": columns.get("ground_truth", problem.answer),
        "extra_info": columns.get("extra_info"),
    }


def _verifiers_arguments(completion: str, problem: Problem, columns: Mapping[str, Any]) -> dict[str, Any]:
    prompt, turn = _turns(completion, problem)
    info, answer = columns.get("info", {}), columns.get("answer", problem.answer)
    state = {"prompt": prompt, "completion": turn, "answer": answer, "info": info, "task": "default"}
    return {"prompt": prompt, "completion": turn, "answer": answer, "state": state, "info": info, "task": "default"}


def _load_file(where: str) -> Any:
    path = Path(where).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    module_name = f"posttrain_diag_verifier_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    found = importlib.util.spec_from_file_location(module_name, path)
    if found is None or found.loader is None:
        raise ImportError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module
    found.loader.exec_module(module)
    return module
