"""The probes: one file per question, an explicit list, and an entry-point group for others' probes."""

from __future__ import annotations

from posttrain_probes import (
    consolidation,
    coverage,
    deep_support,
    format_gap,
    instrument,
    likelihood,
    pass_at_k,
    prefix_ladder,
    signal,
)
from posttrain_probes.card import Probe, ProbeCard, boundary

BUILTIN: tuple[Probe, ...] = (
    instrument.PROBE,
    pass_at_k.PROBE,
    coverage.PROBE,
    likelihood.PROBE,
    prefix_ladder.PROBE,
    deep_support.PROBE,
    format_gap.PROBE,
    signal.PROBE,
    consolidation.PROBE,
)
"""The built-in probes in the order in which they are read: the instrument first."""

ENTRY_POINT_GROUP = "posttrain_diag.probes"


def all_probes() -> tuple[Probe, ...]:
    """Built-in probes, then those that installed packages register.

    Raises:
        UsageError: an entry point does not hold a `Probe`, or reuses a name.
    """
    from importlib.metadata import entry_points

    from posttrain_diag.errors import UsageError

    probes = list(BUILTIN)
    names = {probe.card.name for probe in probes}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        probe = point.load()
        if not isinstance(probe, Probe):
            raise UsageError(f"entry point {point.name} ({point.value}): expected a Probe, got {type(probe).__name__}")
        if probe.card.name in names:
            raise UsageError(f"entry point {point.name} ({point.value}): the probe name {probe.card.name!r} is taken")
        names.add(probe.card.name)
        probes.append(probe)
    return tuple(probes)


__all__ = ["BUILTIN", "ENTRY_POINT_GROUP", "Probe", "ProbeCard", "all_probes", "boundary"]
