"""`diag stages`, `diag probes`, `diag doctor`: what there is and what works here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo, echo_json

if TYPE_CHECKING:
    from posttrain_diag.stages.record import StageRecord

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stages(
    as_json: AsJson = False,
    launch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.launches,
            help="Print the path of a file for `accelerate launch --config_file` instead: ddp, fsdp2, deepspeed_zero2 "
            "or deepspeed_zero3.",
        ),
    ] = None,
) -> None:
    """List every post-training stage family: provenance, interface, role, needs, known failure."""
    from posttrain_diag.stages.catalogue import CATALOGUE

    if launch is not None:
        from posttrain_diag.stages.policy.sharding import launch_config

        echo(launch_config(launch))
        return
    if as_json:
        echo_json([_stage_json(stage) for stage in CATALOGUE])
        return
    for card in CATALOGUE:
        echo(f"{card.name}: {card.title}")
        echo(f"  {card.provenance} / {card.interface}; role: {card.role}")
        echo(f"  when: {card.prescribe_when}")
        echo(f"  fails by: {card.known_failure}")
        echo(f"  needs: {', '.join(card.needs) or 'nothing more'}; runs on {card.built_on}")
        echo(f"  settings of its own: {', '.join(card.own_settings) or 'none'}")


def _stage_json(stage: StageRecord) -> dict[str, Any]:
    """The record of a stage without where its code lies, and with all settings that it reads."""
    shown = asdict(stage)
    for internal in ("recipe", "function"):
        del shown[internal]
    return {**shown, "reads": sorted(stage.settings)}


def probes(
    as_json: AsJson = False,
    check: Annotated[
        bool, typer.Option("--check", help="Validate each probe on evidence with a known answer.")
    ] = False,
) -> None:
    """List the probes: question, method, chance level, cost, references."""
    from posttrain_probes import all_probes

    rows: list[dict[str, Any]] = []
    for probe in all_probes():
        row = asdict(probe.card)
        if check:
            probe.validate()
            row["valid"] = True
        rows.append(row)
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        echo(f"{row['name']}: {row['question']}{'  [valid]' if check else ''}")
        for key in ("method", "chance_level", "cost"):
            echo(f"  {key.replace('_', ' ')}: {row[key]}")
        echo(f"  references: {', '.join(row['references'])}")


def doctor(as_json: AsJson = False) -> None:
    """Check the installation: packages, device, memory, shipped zoo; exit 1 when the main job cannot run."""
    from posttrain_diag.cli.doctor import examine

    checks = examine()
    if as_json:
        echo_json([asdict(check) for check in checks])
    else:
        for check in checks:
            echo(f"{check.state:<8} {check.name}: {check.detail}")
    if any(check.state == "missing" and check.required for check in checks):
        raise typer.Exit(1)
