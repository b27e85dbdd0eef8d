"""Whether a schema changed by additions only: the rule for every message within one version of it.

Pure: two JSON Schemas in, the breaks by name out. What is read from others (event bodies, requests) must go on accepting all
that it accepted. What is written for others (states, announcements, answers) must go on being all that their readers count on;
they ignore keys that they do not know. A change that is a break is a new version beside the old one.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT: Final = ("pattern", "format", "multipleOf", "uniqueItems")
_LISTED: Final = {"x-writers": "writer_removed", "x-streams": "stream_removed"}

CODES: Final = {
    "schema_removed": "the message is gone",
    "field_removed": "the field is gone",
    "required_added": "the field is required now: whoever left it out is refused",
    "type_narrowed": "values of this type are no longer taken",
    "enum_value_removed": "this value is no longer taken",
    "limit_tightened": "the limit is tighter",
    "pattern_changed": "the form of the text is another",
    "extras_refused": "further keys are no longer taken",
    "writer_removed": "this kind of author may no longer write it",
    "stream_removed": "it may no longer stand on this kind of stream",
    "required_removed": "the field is no longer always there: readers count on it",
    "type_widened": "values of a type that readers do not expect",
    "enum_value_added": "a value that readers do not know",
}
"""Every break by name, in words."""

_AS_WRITTEN: Final = {
    "required_added": "required_removed",
    "type_narrowed": "type_widened",
    "enum_value_removed": "enum_value_added",
    "schema_removed": "schema_removed",
}
"""What a reader of yesterday would call it: the same comparison the other way round. Limits bind writers, not readers."""


@dataclass(frozen=True, slots=True)
class Break:
    """One change that is no addition. `where` is a path into the message, `detail` the value or limit."""

    code: str
    message: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.message}: {self.where}: {self.code}: {CODES[self.code]}{detail}"


def breaks(released: Mapping[str, Schema], now: Mapping[str, Schema], written: Set[str] = frozenset()) -> list[Break]:
    """All breaks of the released messages, by name. `written` are those that others read; the rest is read from others."""
    found = []
    for message, old in sorted(released.items()):
        new = now.get(message)
        if new is None:
            found.append(Break("schema_removed", message, message))
        elif message in written:
            found += _written(message, old, new)
        else:
            found += _Comparison(message, old, new).refused()
    return found


def _written(message: str, old: Schema, new: Schema) -> Iterator[Break]:
    """Fields that are gone, and what readers of yesterday would refuse of what is written today."""
    forward = _Comparison(message, old, new).refused()
    yield from (each for each in forward if each.code == "field_removed")
    for each in _Comparison(message, new, old).refused():
        if each.code in _AS_WRITTEN:
            yield Break(_AS_WRITTEN[each.code], message, each.where, each.detail)


class _Comparison:
    """What `new` refuses of all that `old` accepts."""

    def __init__(self, message: str, old: Schema, new: Schema) -> None:
        self._message, self._old, self._new = message, old, new
        self._open: set[tuple[str, str]] = set()

    def refused(self) -> list[Break]:
        listed = [
            Break(code, self._message, key, value)
            for key, code in _LISTED.items()
            for value in sorted(set(self._old.get(key, ())) - set(self._new.get(key, ())))
        ]
        return [*listed, *self._compare(self._old, self._new, "$")]

    def _compare(self, old: Schema, new: Schema, where: str) -> list[Break]:
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and pair in self._open:
            return []  # a type that holds itself
        self._open.add(pair)
        olds = _alternatives(_resolved(old, self._old), self._old)
        news = _alternatives(_resolved(new, self._new), self._new)
        found = [each for branch in olds for each in self._best(branch, news, where)]
        self._open.discard(pair)
        return found

    def _best(self, old: Schema, news: list[Schema], where: str) -> Iterator[Break]:
        """The breaks against the alternative that comes nearest; none where one takes it whole."""
        tried = [list(self._one(old, new, where)) for new in news]
        # One of another type is no kin: it is only told where nothing nearer is left.
        yield from min(tried, key=lambda found: (any(each.where == where for each in found), len(found)), default=[])

    def _one(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        if not _says_anything(new):
            return
        values, taken = _values(old), _values(new)
        if taken is not None:
            if values is None:
                yield Break("type_narrowed", self._message, where, "only listed values")
            for value in sorted(set(values or ()) - set(taken)):
                yield Break("enum_value_removed", self._message, where, value)
            return
        lost = sorted(_types(old) - _widened(_types(new)))
        if lost:
            yield Break("type_narrowed", self._message, where, ", ".join(lost))
            return
        yield from self._limits(old, new, where)
        yield from self._fields(old, new, where)
        yield from self._items(old, new, where)

    def _limits(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        if _values(old) is not None:
            return
        for key in (*_LOWER, *_UPPER):
            if key in new and (key not in old or (new[key] > old[key] if key in _LOWER else new[key] < old[key])):
                yield Break("limit_tightened", self._message, where, f"{key} {new[key]}")
        for key in _EXACT:
            if key in new and new[key] != old.get(key):
                yield Break("pattern_changed", self._message, where, f"{key} {new[key]}")

    def _fields(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        olds, news = old.get("properties", {}), new.get("properties", {})
        for name, schema in olds.items():
            if name not in news:
                yield Break("field_removed", self._message, f"{where}.{name}")
            else:
                yield from self._compare(schema, news[name], f"{where}.{name}")
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield Break("required_added", self._message, f"{where}.{name}")
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if after is False and before is not False:
            yield Break("extras_refused", self._message, where)
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from self._compare(before, after, f"{where}.*")

    def _items(self, old: Schema, new: Schema, where: str) -> Iterator[Break]:
        for index, (before, after) in enumerate(zip(old.get("prefixItems", ()), new.get("prefixItems", ()), strict=False)):
            yield from self._compare(before, after, f"{where}[{index}]")
        before, after = old.get("items"), new.get("items")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from self._compare(before, after, f"{where}[]")


def _resolved(schema: Schema, whole: Schema) -> Schema:
    while "$ref" in schema:
        schema = whole["$defs"][str(schema["$ref"]).rpartition("/")[2]]
    return schema


def _alternatives(schema: Schema, whole: Schema) -> list[Schema]:
    """The branches of a union, flat; the schema itself where it is none."""
    branches = schema.get("anyOf") or schema.get("oneOf")
    if not branches:
        return [schema]
    return [found for branch in branches for found in _alternatives(_resolved(branch, whole), whole)]


def _values(schema: Schema) -> list[str] | None:
    """The listed values as text, None where any value of the type will do."""
    if "const" in schema:
        return [repr(schema["const"])]
    return [repr(value) for value in schema["enum"]] if "enum" in schema else None


def _types(schema: Schema) -> set[str]:
    said = schema.get("type")
    if said is None:
        return {"object"} if "properties" in schema else {"anything"}
    return {said} if isinstance(said, str) else set(said)


def _widened(types: set[str]) -> set[str]:
    return types | {"integer"} if "number" in types else types


def _says_anything(schema: Schema) -> bool:
    """Whether the schema constrains at all: an empty one takes everything."""
    return bool(set(schema) - {"title", "description", "default", "examples"})
