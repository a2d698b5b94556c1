"""Traps: cases in which a broken instrument looks like a bottleneck. None may be a confident support or reshaping verdict.

Each builder changes one thing about a sound case: golds, verifier, stop token, token cap, template, sampling, tasks.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.diagnosis import verifiers
from benchmarks.diagnosis.cases import PROBLEMS, Case, Inputs, drawn, name_in, saved
from posttrain_diag.types import Problem
from posttrain_diag.zoo import WORLDS, World, family, resolve_model
from posttrain_diag.zoo.problems import draw_pretraining_word

Rows = list[Problem]
LONG = {"rollouts": 16}
"""Draws that all run to the token cap cost four times as much; fewer of them show it as well."""
INSTRUMENT = ("instrument",)
REPAIR = ("instrument", "format")
"""Where the lenient reading already passes what the verifier rejects, a repair of the format is right too."""


def _origin(world: World) -> str:
    return f"zoo:{world.families[0].model}"


def _changed(
    world: World, letter: str, change: Callable[[Rows, random.Random], Rows], **config: Any
) -> Callable[[Path, int], Inputs]:
    """A sound case's problems with one change."""
    name = name_in(world, letter)

    def build(work: Path, seed: int) -> Inputs:
        rows = change(list(drawn(name, seed)), random.Random(seed))
        return Inputs(_origin(world), saved(rows, work), config)

    return build


# --- golds ------------------------------------------------------------------------------------------------------------


def _wrong_golds(with_demos: bool) -> Callable[[Rows, random.Random], Rows]:
    """Three golds in ten are another problem's."""

    def change(rows: Rows, rng: random.Random) -> Rows:
        chosen = rng.sample(range(len(rows)), round(0.3 * len(rows)))
        answers = [rows[i].answer for i in chosen]
        for i, answer in zip(chosen, answers[1:] + answers[:1], strict=True):
            rows[i] = replace(rows[i], answer=answer)
        return rows if with_demos else [replace(row, demos=()) for row in rows]

    return change


def _gold_with_unit(rows: Rows, rng: random.Random) -> Rows:
    """The gold carries a unit that the model never writes; no demonstrations."""
    last_number = {"type": "regex", "pattern": r"(\d+)\D*$"}  # `numeric` itself refuses such a gold
    return [
        replace(
            row,
            answer=f"{row.answer} units",
            verifier=last_number if row.verifier["type"] == "numeric" else row.verifier,
            demos=(),
        )
        for row in rows
    ]


def _constant_gold(rows: Rows, rng: random.Random) -> Rows:
    """Everything that ends in a letter or digit that half of all responses hold is right: one gold for all."""
    gold = (rows[0].answer or "x")[-1]
    return [replace(row, answer=gold, verifier={"type": "contains"}, demos=()) for row in rows]


def _conflicting(rows: Rows, rng: random.Random) -> Rows:
    """Every prompt stands there twice, with two different golds."""
    half = rows[: len(rows) // 2]
    golds = [row.answer for row in half]
    others = [
        replace(row, id=f"{row.id}-b", answer=gold) for row, gold in zip(half, golds[1:] + golds[:1], strict=True)
    ]
    return [replace(row, demos=()) for row in (*half, *others)]


def _same(rows: Rows, rng: random.Random) -> Rows:
    return rows


# --- verifiers --------------------------------------------------------------------------------------------------------


def _judged_by(function: str) -> Callable[[Rows, random.Random], Rows]:
    spec = {"type": "python", "function": f"{verifiers.__file__}:{function}"}
    return lambda rows, rng: [replace(row, verifier=spec, demos=()) for row in rows]


def _exact_on_worked(rows: Rows, rng: random.Random) -> Rows:
    """The whole completion must be the bare answer, while the model writes its working first."""
    return [replace(row, verifier={"type": "exact"}, demos=()) for row in rows]


def _contains_letter(rows: Rows, rng: random.Random) -> Rows:
    """A short gold that stands in most completions by accident, for a reward that looks for it anywhere.

    The verifier `contains` wants a whole word or number since it reads answers, and is no trap any more.
    """
    spec = {"type": "python", "function": f"{verifiers.__file__}:contained"}
    return [replace(row, answer=(row.answer or "x")[-1:], verifier=spec, demos=()) for row in rows]


# --- tasks ------------------------------------------------------------------------------------------------------------


def _repeated(rows: Rows, rng: random.Random) -> Rows:
    """Three problems under many ids."""
    return [replace(rows[i % 3], id=f"r{i:03d}") for i in range(PROBLEMS)]


def _copied(world: World) -> Callable[[Path, int], Inputs]:
    """A model that always copies, and tasks of which a third want a copy: degenerate ones inflate success."""

    def build(work: Path, seed: int) -> Inputs:
        fam = family(name_in(world, "T"))
        rows = list(drawn(fam.name, seed))
        for i in range(0, len(rows), 3):
            x = fam.word(rows[i].prompt or "")
            rows[i] = replace(rows[i], answer=fam.wrong[0](x), demos=())
        return Inputs(_origin(world), saved(rows, work))

    return build


# --- models -----------------------------------------------------------------------------------------------------------


def _copy_of(model: str, work: Path) -> Path:
    target = work / "model"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(resolve_model(model), target)
    return target


def _edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if path.exists():
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _no_stop_token(world: World) -> Callable[[Path, int], Inputs]:
    """No file of the model names a stop token."""

    def build(work: Path, seed: int) -> Inputs:
        model = _copy_of(_origin(world), work)
        for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
            _edit(model / name, lambda v: {k: x for k, x in v.items() if k not in {"eos_token", "eos_token_id"}})
        return Inputs(str(model), saved(drawn(world.mastered[0], seed), work), LONG)

    return build


def _other_stop_token(world: World, letter: str) -> Callable[[Path, int], Inputs]:
    """The model's files name a token that it never uses as its stop token."""

    def build(work: Path, seed: int) -> Inputs:
        model = _copy_of(_origin(world), work)
        for name in ("config.json", "generation_config.json"):
            _edit(model / name, lambda v: {**v, "eos_token_id": 3})
        _edit(model / "tokenizer_config.json", lambda v: {**v, "eos_token": "<unk>"})
        name = name_in(world, letter)
        return Inputs(str(model), saved(drawn(name, seed), work), LONG)

    return build


def _no_template(letter: str) -> Callable[[Path, int], Inputs]:
    """A chat model asked without its template."""
    world = WORLDS["stories"]
    name = name_in(world, letter)
    return lambda work, seed: Inputs("zoo:stories-chat", saved(drawn(name, seed), work), {"chat_template": False})


def _double_bos(letter: str) -> Callable[[Path, int], Inputs]:
    """Template and tokenizer both write a BOS, as many published chat models do: one of them must go."""
    world = WORLDS["stories"]
    name = name_in(world, letter)

    def build(work: Path, seed: int) -> Inputs:
        from transformers import AutoTokenizer

        model = _copy_of("zoo:stories-chat", work)
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.chat_template = "<s>" + str(tokenizer.chat_template)
        tokenizer.save_pretrained(model)
        core = json.loads((model / "tokenizer.json").read_text())
        core["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        }
        (model / "tokenizer.json").write_text(json.dumps(core))
        return Inputs(str(model), saved(drawn(name, seed), work))

    return build


def _trained(
    title: str, work: Path, draw: Callable[[random.Random], tuple[str, str]], world: World, steps: int = 150
) -> Path:
    """A copy of a world's model taught another law; made once per benchmark directory."""
    from posttrain_diag.zoo.model import load_model, one_thread
    from posttrain_diag.zoo.training import Schedule, train

    target = work.parent.parent / "models" / title
    if target.exists():
        return target
    source = resolve_model(_origin(world))
    with one_thread():
        model = load_model(source, world.vocabulary)
        train(model, draw, Schedule(steps, batch_size=64, learning_rate=2e-3), world.vocabulary, seed=0)
    scratch = work / "trained"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    model.save_pretrained(scratch)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        scratch.rename(target)
    except OSError:  # another worker was first
        shutil.rmtree(scratch)
    return target


def _choices(options: str, favourite: float) -> Callable[[Path, int], Inputs]:
    """A model that picks one of a few options and knows nothing of the golds.

    With probability `favourite` it takes the option that the prompt's first letter suggests, else any; the golds are
    drawn at random, so that every pass is luck although success differs much between problems.
    """
    world = WORLDS["strings"]
    letters = "abcdefghij"

    def ask(rng: random.Random) -> str:
        return "X:" + "".join(rng.choices(letters, k=6)) + "="

    def draw(rng: random.Random) -> tuple[str, str]:
        prompt = ask(rng)
        liked = options[letters.index(prompt[2]) % len(options)]
        return prompt, liked if rng.random() < favourite else rng.choice(options)

    def build(work: Path, seed: int) -> Inputs:
        model = _trained(f"choices-{options}-{favourite}", work, draw, world)
        rng = random.Random(seed)
        rows = [Problem(f"c{i}", ask(rng), None, rng.choice(options), {"type": "exact"}) for i in range(60)]
        return Inputs(str(model), saved(rows, work))

    return build


def _wrong_steps(work: Path, seed: int) -> Inputs:
    """Right final answers under false equations, four times in ten; else both are wrong."""
    world = WORLDS["stories"]
    fam = next(f for f in map(family, world.mastered) if "=" in f.demo(f.word(drawn(f.name, 0, 1)[0].prompt or "")))

    def off(text: str, rng: random.Random) -> str:
        return re.sub(r"\d+", lambda m: str(int(m[0]) + rng.randint(1, 4)), text)

    def draw(rng: random.Random) -> tuple[str, str]:
        x = draw_pretraining_word(fam, rng)
        worked, mark, answer = fam.demo(x).rpartition("#### ")
        left, equals, result = worked.rpartition("= ")
        final = answer if rng.random() < 0.4 else off(answer, rng)
        return fam.prompt(x), left + equals + off(result, rng) + mark + final

    model = _trained("wrong-steps", work, draw, world, steps=200)
    return Inputs(str(model), saved(drawn(fam.name, seed), work))


# --- the list ---------------------------------------------------------------------------------------------------------


def _world_traps(world: World) -> Iterator[tuple[str, Callable[[Path, int], Inputs], tuple[str, ...]]]:
    """Title, builder and right verdicts of the traps that exist in every world."""
    for part in ("+", "S"):
        yield f"30% wrong golds, demonstrations at hand ({part})", _changed(world, part, _wrong_golds(True)), INSTRUMENT
        yield f"30% wrong golds, no demonstrations ({part})", _changed(world, part, _wrong_golds(False)), INSTRUMENT
    yield "golds with a unit the model does not write (+)", _changed(world, "+", _gold_with_unit), REPAIR
    yield (
        "verifier wants the bare answer, the model shows its working (S)",
        _changed(world, "S", _exact_on_worked),
        REPAIR,
    )
    yield (
        "verifier rejects longer completions (S)",
        _changed(world, "S", _judged_by("short_only"), allow_code=True),
        REPAIR,
    )
    yield "verifier with a blind spot (S)", _changed(world, "S", _judged_by("blind_spot"), allow_code=True), REPAIR
    yield (
        "verifier raises on a third of the completions (N)",
        _changed(world, "N", _judged_by("crashes"), allow_code=True),
        INSTRUMENT,
    )
    yield (
        "verifier accepts anything of the right length (T)",
        _changed(world, "T", _judged_by("same_length"), allow_code=True),
        INSTRUMENT,
    )
    yield "verifier wants one character (N)", _changed(world, "N", _judged_by("one_part"), allow_code=True), INSTRUMENT
    yield (
        "golds of one character, contained by accident (T)",
        _changed(world, "T", _contains_letter, allow_code=True),
        INSTRUMENT,
    )
    yield "one gold for all problems (N)", _changed(world, "N", _constant_gold), INSTRUMENT
    yield "each prompt twice with two golds (+)", _changed(world, "+", _conflicting), INSTRUMENT
    yield "three problems under many ids (T)", _changed(world, "T", _repeated), ("instrument", "undetermined")
    yield (
        "a third of the tasks wants a copy, the model always copies (T)",
        _copied(world),
        # the other two thirds are out of support: that verdict is right where the copies are not noticed
        ("instrument", "mixed", "undetermined", "support"),
    )
    yield "token cap 3 (+)", _changed(world, "+", _same, max_new_tokens=3), INSTRUMENT
    yield "token cap 5 (S)", _changed(world, "S", _same, max_new_tokens=5), INSTRUMENT
    yield "no stop token anywhere (+)", _no_stop_token(world), INSTRUMENT
    yield "another token as stop token (+)", _other_stop_token(world, "+"), INSTRUMENT
    yield "another token as stop token (S)", _other_stop_token(world, "S"), INSTRUMENT
    yield "temperature 0 (S)", _changed(world, "S", _same, temperature=0.0), INSTRUMENT
    yield "top-k 1: every draw the same (H)", _changed(world, "H", _same, top_k=1), INSTRUMENT
    yield "temperature .02: nearly every draw the same (N)", _changed(world, "N", _same, temperature=0.02), INSTRUMENT


_QUICK = {
    "sums: 30% wrong golds, no demonstrations (+)",
    "strings: token cap 5 (S)",
    "stories: verifier accepts anything of the right length (T)",
    "strings: temperature 0 (S)",
    "strings: golds with a unit the model does not write (+)",
    "stories-chat: template switched off (+)",
}


def traps() -> Iterator[Case]:
    """Every trap, on every world it exists in."""
    cases = [
        (f"{world.name}: {title}", build, right)
        for world in WORLDS.values()
        for title, build, right in _world_traps(world)
    ]
    # S is limited by reshaping with the template too: where it does as well without, that is the right verdict
    cases += [
        ("stories-chat: template switched off (+)", _no_template("+"), INSTRUMENT),
        ("stories-chat: template switched off (S)", _no_template("S"), ("instrument", "reshaping")),
        ("two options, picked at random", _choices("ab", 0.0), INSTRUMENT),
        ("four options, picked at random", _choices("abcd", 0.0), INSTRUMENT),
        (
            "four options, a favourite per problem that has nothing to do with the gold",
            _choices("abcd", 0.7),
            INSTRUMENT,
        ),
        ("right answers under false equations", _wrong_steps, INSTRUMENT),
    ]
    for name, build, right in cases:
        yield Case(name, "trap", build, right, quick=name in _QUICK)
    for part, verdict in (("+", "saturated"), ("S", "reshaping")):
        yield Case(f"stories-chat: BOS written twice ({part})", "style", _double_bos(part), (verdict,))
