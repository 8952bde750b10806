"""Reading: from the text of a file to a document, or to all that is wrong with it, by line and path.

The text is anybody's. It is read by YAML's safe loader, as text, numbers, true, false, null, lists and mappings and
nothing else: no tags, no anchors and aliases (whose expansion can be made to fill any memory), no key twice, no endless
nesting. As in YAML 1.2, ``yes``, ``no`` and ``on`` are texts. Names are texts, whatever they look like.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from hotdata.definitions.documents import KEYS, SECTIONS, VERSION, Definition, Document
from hotdata.definitions.shapes import JOB, KEY, SOURCE, Shape, read, same, written
from hotdata.exceptions import HotdataError
from hotdata.keys import check_key
from hotdata.text import printable

MOST_BYTES = 2_000_000
DEEPEST = 100
MOST_TOLD = 100


class BadDocument(HotdataError):
    """The file can't be applied. `problems` says each reason, with line and path."""

    permanent = True

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


# Ten times as quick, where PyYAML was built with it; both are safe loaders, and neither gets to construct anything.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Plain values as YAML 1.2's core schema has them."""

    yaml_implicit_resolvers: dict[str, Any] = {}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse(data: bytes) -> Document:
    """The document in `data`. Raises BadDocument with all that is wrong."""
    if len(data) > MOST_BYTES:
        raise BadDocument([f"The file is larger than {MOST_BYTES:,} bytes."])
    try:
        text = data.decode("utf-8-sig")
        _check_events(text)
        root = yaml.compose(text, _Loader)
    except UnicodeDecodeError as error:
        raise BadDocument(["The file is not UTF-8."]) from error
    except yaml.YAMLError as error:
        raise BadDocument([_said(error)]) from error
    return _Reader().document(root)


def _check_events(text: str) -> None:
    """Raise BadDocument for what is never needed and can do harm, before anything is built from the text."""
    depth = 0
    for event in yaml.parse(text, _SafeLoader):
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise BadDocument([f"line {line}: anchors and aliases (& and *) are not read; write it out."])
        if getattr(event, "tag", None) is not None:
            raise BadDocument([f"line {line}: tags (!) are not read."])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise BadDocument([f"line {line}: this is nested more than {DEEPEST} levels deep."])


def _said(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
    return f"line {mark.line + 1}: this is no YAML: {problem}." if mark else f"This is no YAML: {problem}."


class _Reader:
    """Reads one document, and notes what is wrong and where everything stands."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._lines: dict[str, int] = {}

    def document(self, root: yaml.Node | None) -> Document:
        said = self._members(root, "") if root is not None else {}
        version = said.pop("version", None)
        if version is None or not same(self._value(version, "version"), VERSION):
            line = 1 if version is None else version.start_mark.line + 1
            self._problems.append(f"line {line}: the file must say `version: {VERSION}`.")
        found = {}
        for section, shape in zip(SECTIONS, (SOURCE, JOB), strict=True):
            members = self._members(said.pop(section, None), section)
            found[section] = {
                name: self._definition(name, node, f"{section}.{name}", shape)
                for name, node in members.items()
            }
        for name in said:
            self._unknown(name, name, ("version", *SECTIONS))
        if self._problems:
            raise BadDocument(first_of(self._problems))
        return Document(**found, lines=self._lines)

    def _definition(self, name: str, node: yaml.Node, path: str, shape: Shape) -> Definition:
        members = self._members(node, path)
        keys = self._members(members.pop(KEYS, None), f"{path}.{KEYS}") if shape is SOURCE else {}
        return Definition(
            name=name,
            fields=self._fields(members, path, shape),
            keys=dict(self._key(key, entry, f"{path}.{KEYS}.{key}") for key, entry in keys.items()),
        )

    def _key(self, key: str, entry: yaml.Node, path: str) -> tuple[str, dict[str, Any]]:
        fields = self._fields(self._members(entry, path), path, KEY)
        try:
            if check_key(key) != key:
                self._problem(path, f"this key is written {check_key(key)!r}.")
        except ValueError as error:
            self._problem(path, str(error))
        return key, fields

    def _fields(self, members: Mapping[str, yaml.Node], path: str, shape: Shape) -> dict[str, Any]:
        """All fields of a definition: those that are there, and the defaults of those that are not."""
        known, found = shape.fields, shape.defaults()
        for name, node in members.items():
            if name in shape.left_out:
                self._problem(f"{path}.{name}", f"this can't be in a file: {shape.left_out[name]}.")
            elif name not in known:
                further = (KEYS,) if shape is SOURCE else ()
                self._unknown(f"{path}.{name}", name, (*known, *further))
            else:
                try:
                    # As it is written, whichever way that was spelt here.
                    found[name] = written(known[name], read(known[name], self._value(node, f"{path}.{name}")))
                except ValueError as error:
                    self._problem(f"{path}.{name}", f"{error}.")
        return found

    # Nodes

    def _members(self, node: yaml.Node | None, path: str) -> dict[str, yaml.Node]:
        """The members of a mapping by name, which may be empty or null."""
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._lines.setdefault(path, node.start_mark.line + 1)
            self._problem(path, "this must be a mapping from names.")
            return {}
        found: dict[str, yaml.Node] = {}
        for name_node, value in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._problems.append(f"line {line}: {path or 'the file'}: a name must be a text.")
                continue
            name: str = name_node.value
            inner = f"{path}.{name}" if path else name
            self._check_text(name, inner, line)
            if name in found:
                first = self._lines[inner]
                self._problems.append(
                    f"line {line}: {printable(inner)}: this is there twice; first in line {first}."
                )
            self._lines.setdefault(inner, line)
            found[name] = value
        return found

    def _value(self, node: yaml.Node, path: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {
                name: self._value(value, f"{path}.{name}")
                for name, value in self._members(node, path).items()
            }
        if isinstance(node, yaml.SequenceNode):
            return [self._value(value, f"{path}.{number}") for number, value in enumerate(node.value)]
        kind, text = node.tag.rpartition(":")[2], node.value
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text)
                case "float":
                    return _finite(float(text))
        except ValueError:
            self._lines.setdefault(path, node.start_mark.line + 1)
            self._problem(path, "this number is too large.")
        self._check_text(text, path, node.start_mark.line + 1)
        return text

    # Problems

    def _problem(self, path: str, what: str) -> None:
        line = self._lines.get(path, 1)
        self._problems.append(f"line {line}: {printable(path) or 'the file'}: {what}")

    def _check_text(self, text: str, path: str, line: int) -> None:
        """Note a text that no database can hold."""
        if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
            self._problems.append(
                f"line {line}: {printable(path)}: a text can't hold NUL or halves of characters."
            )

    def _unknown(self, path: str, name: str, known: tuple[str, ...]) -> None:
        close = difflib.get_close_matches(name[:100], known, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" There are {', '.join(known)}."
        self._problem(path, f"there is no such field.{hint}")


def _finite(number: float) -> float:
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def first_of(problems: list[str]) -> list[str]:
    """The first of many problems, with a word on how many more there are."""
    if len(problems) <= MOST_TOLD:
        return problems
    return [*problems[:MOST_TOLD], f"… and {len(problems) - MOST_TOLD:,} more."]
