"""JSON Schema, the part that tasks use: whether a value fits, and where it does not.

A schema with a keyword that is not known here is refused, so that nothing is checked by half. (The package `jsonschema`
knows all of the language; it would bring four packages, one of them compiled, for what is a page of code.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from posttrain_diag.errors import VerifierError

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_ANNOTATIONS = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated"}
    | {"readOnly", "writeOnly", "format", "strict", "contentMediaType", "contentEncoding"}
)
"""Keywords that constrain nothing; `format` is an annotation by default since draft 2019-09."""
_CONSTRAINTS = frozenset(
    {"$ref", "type", "enum", "const", "allOf", "anyOf", "oneOf", "not"}
    | {"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"}
    | {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"}
    | {"minLength", "maxLength", "pattern"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
_MAX_DEPTH = 60
_SUBSCHEMAS = ("additionalProperties", "items", "contains", "not")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")


def check_schema(schema: Any, where: str = "schema") -> None:
    """Make sure that a schema can be used.

    Raises:
        VerifierError: it holds a keyword or a value that is not known; the message names the place.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise VerifierError(f"a JSON schema is an object, got {type(schema).__name__} at {where}")
    fields = cast("dict[str, Any]", schema)
    unknown = sorted(set(fields) - _ANNOTATIONS - _CONSTRAINTS)
    if unknown:
        accepted = ", ".join(sorted(_CONSTRAINTS))
        raise VerifierError(f"the JSON schema has the unknown keyword {unknown[0]!r} at {where}: known are {accepted}")
    _check_kinds(fields, where)
    reference = fields.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#")):
        raise VerifierError(f"the JSON schema refers to {reference!r} at {where}: only '#/...' can be followed")
    for key in _SUBSCHEMAS:
        if key in fields:
            check_schema(fields[key], f"{where}.{key}")
    for key in _LISTS:
        for i, each in enumerate(fields.get(key, [])):
            check_schema(each, f"{where}.{key}[{i}]")
    for key in _MAPS:
        for name, each in fields.get(key, {}).items():
            check_schema(each, f"{where}.{key}.{name}")
    for pattern in (*fields.get("patternProperties", {}), *([fields["pattern"]] if "pattern" in fields else [])):
        _check_pattern(pattern, where)


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise VerifierError(f"the JSON schema has the pattern {pattern!r} at {where}: {error}") from error


def _check_kinds(fields: Mapping[str, Any], where: str) -> None:
    kinds = fields.get("type", [])
    for kind in cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            raise VerifierError(
                f"the JSON schema has the unknown type {kind!r} at {where}: known are {', '.join(_TYPES)}"
            )


def fits(value: Any, schema: Any, root: Any = None, depth: int = 0) -> bool:
    """Whether a JSON value fits a schema that was checked.

    Args:
        value: JSON-compatible data.
        schema: the schema, or a part of it.
        root: the whole schema, where references start; default: `schema`.
        depth: references and parts followed so far; a schema that refers to itself for ever fits nothing.
    """
    if isinstance(schema, bool):
        return schema
    if depth > _MAX_DEPTH:
        return False
    root = schema if root is None else root
    fields = cast("Mapping[str, Any]", schema)
    if "$ref" in fields and not fits(value, _followed(fields["$ref"], root), root, depth + 1):
        return False
    if "type" in fields and not _has_type(value, fields["type"]):
        return False
    if "enum" in fields and not any(same_json(value, each) for each in fields["enum"]):
        return False
    if "const" in fields and not same_json(value, fields["const"]):
        return False

    def part(item: Any, subschema: Any) -> bool:
        return fits(item, subschema, root, depth + 1)

    if not all(part(value, each) for each in fields.get("allOf", [])):
        return False
    if "anyOf" in fields and not any(part(value, each) for each in fields["anyOf"]):
        return False
    if "oneOf" in fields and sum(part(value, each) for each in fields["oneOf"]) != 1:
        return False
    if "not" in fields and part(value, fields["not"]):
        return False
    if isinstance(value, dict):
        return _object_fits(cast("dict[str, Any]", value), fields, part)
    if isinstance(value, list):
        return _array_fits(cast("list[Any]", value), fields, part)
    return _scalar_fits(value, fields)


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, but not true; the order of keys does not matter."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(a, list) and isinstance(b, list):
        first, second = cast("list[Any]", a), cast("list[Any]", b)
        return len(first) == len(second) and all(map(same_json, first, second))
    return a == b and (type(a) is type(b) or (_is_number(a) and _is_number(b)))


def _object_fits(value: Mapping[str, Any], schema: Mapping[str, Any], part: Any) -> bool:
    if not all(name in value for name in schema.get("required", [])):
        return False
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return False
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in value.items():
        matching = [sub for pattern, sub in patterns.items() if re.search(pattern, name) is not None]
        if name in properties:
            matching.append(properties[name])
        if not matching:
            matching.append(schema.get("additionalProperties", True))
        if not all(part(item, sub) for sub in matching):
            return False
    return True


def _array_fits(value: Sequence[Any], schema: Mapping[str, Any], part: Any) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    if schema.get("uniqueItems") and any(same_json(a, b) for i, a in enumerate(value) for b in value[:i]):
        return False
    if "contains" in schema and not any(part(item, schema["contains"]) for item in value):
        return False
    first = schema.get("prefixItems", [])
    if not all(part(item, sub) for item, sub in zip(value, first, strict=False)):
        return False
    return all(part(item, schema.get("items", True)) for item in value[len(first) :])


def _scalar_fits(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, str):
        within = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return within and ("pattern" not in schema or re.search(schema["pattern"], value) is not None)
    if not _is_number(value):
        return True
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        return False
    if ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]) or (
        "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]
    ):
        return False
    step = schema.get("multipleOf")
    return step is None or abs(value / step - round(value / step)) < 1e-9


def _has_type(value: Any, kinds: str | list[str]) -> bool:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if isinstance(value, bool) and kind != "boolean":
            continue
        if isinstance(value, _TYPES[kind]) and (kind != "integer" or value == int(value)):
            return True
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _followed(reference: str, root: Any) -> Any:
    """The part of a schema that "#/$defs/City" names; false, which nothing fits, where there is none."""
    node = root
    for part in filter(None, reference.removeprefix("#").strip("/").split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or name not in node:
            return False
        node = cast("dict[str, Any]", node)[name]
    return node
