"""Where two readings differ: one line per place, with both values.

Values are equal where their JSON would be: 1 is not 1.0, NaN is NaN, -0.0 is not 0.0, and the order of keys counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from benchmarks.unchanged.reading import Lines, Tensor

SHOWN = 90
"""Characters of a value that are shown."""
MISSING = "(missing)"
UNPACKED = {"F32": "f", "F64": "d", "F16": "e"}


@dataclass(frozen=True)
class Difference:
    """One place, with what stands there in either recording."""

    path: str
    a: str
    b: str


def differences(a: Any, b: Any, path: str = "") -> Iterator[Difference]:
    """All places in which two readings differ."""
    if type(a) is not type(b):
        yield Difference(path, shown(a), shown(b))
    elif isinstance(a, dict):
        yield from _of_mappings(a, b, path)
    elif isinstance(a, list):
        if len(a) != len(b):
            yield Difference(f"{path} length", str(len(a)), str(len(b)))
        for i, (one, other) in enumerate(zip(a, b, strict=False)):
            yield from differences(one, other, f"{path}[{i}]")
    elif isinstance(a, Lines):
        yield from _of_lines(a, b, path)
    elif isinstance(a, Tensor):
        if a != b:
            yield Difference(path, *_of_tensors(a, b))
    elif not same(a, b):
        yield Difference(path, *_where(shown(a, None), shown(b, None)))


def same(a: Any, b: Any) -> bool:
    """Whether two values of one type are the same, bit for bit."""
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)  # noqa: PLR0124 - NaN
    return a == b


def shown(value: Any, most: int | None = SHOWN) -> str:
    """A value as text."""
    text = value if isinstance(value, str) and value == MISSING else repr(value)
    return text if most is None or len(text) <= most else f"{text[:most]}..."


def _of_mappings(a: dict[str, Any], b: dict[str, Any], path: str) -> Iterator[Difference]:
    for key in [*a, *(key for key in b if key not in a)]:
        if key not in a or key not in b:
            yield Difference(f"{path}.{key}", *(shown(side.get(key, MISSING)) for side in (a, b)))
        else:
            yield from differences(a[key], b[key], f"{path}.{key}")
    common_a, common_b = [key for key in a if key in b], [key for key in b if key in a]
    if common_a != common_b:
        first = next(i for i, (one, other) in enumerate(zip(common_a, common_b, strict=True)) if one != other)
        yield Difference(f"{path} order of keys", common_a[first], common_b[first])


def _of_lines(a: Lines, b: Lines, path: str) -> Iterator[Difference]:
    if a == b:
        return
    for kind, i, i_end, j, j_end in SequenceMatcher(None, a.lines, b.lines, autojunk=False).get_opcodes():
        if kind != "equal":
            texts = _where("\n".join(a.lines[i:i_end]), "\n".join(b.lines[j:j_end]))
            yield Difference(f"{path} line {i + 1}", *(repr(text) for text in texts))


def _where(a: str, b: str) -> tuple[str, str]:
    """Two texts from shortly before their first difference on."""
    first = next((i for i, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    start = max(0, first - SHOWN // 3)

    def part(text: str) -> str:
        cut = text[start : start + SHOWN]
        return ("..." if start else "") + cut + ("..." if start + SHOWN < len(text) else "")

    return part(a), part(b)


def _of_tensors(a: Tensor, b: Tensor) -> tuple[str, str]:
    described = tuple(f"{tensor.dtype} {list(tensor.shape)}" for tensor in (a, b))
    code = UNPACKED.get(a.dtype)
    if described[0] != described[1] or code is None:
        return described[0], described[1]
    one, other = (
        struct.unpack(f"<{len(tensor.data) // struct.calcsize(code)}{code}", tensor.data) for tensor in (a, b)
    )
    apart = [(x, y) for x, y in zip(one, other, strict=True) if not same(x, y)]
    if not apart:
        return "the same values", "other bits"
    largest = max(apart, key=lambda pair: abs(pair[0] - pair[1]))
    of = f"{len(apart)} of {len(one)} values; the largest difference: "
    return of + repr(largest[0]), repr(largest[1])
