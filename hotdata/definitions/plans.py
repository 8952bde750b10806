"""Plans: what has to change for the definitions to be what a document says, and the words for it.

A plan is compared as the file has things: field by field, and inside mappings name by name. Its `digest` stands for all
of it, with what is there now, so that what was reviewed can be told from what would be done later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from hotdata.definitions.documents import KEYS, SECTIONS, Definition, Document, Written
from hotdata.definitions.shapes import JOB, KEY, SOURCE, Shape, same
from hotdata.text import printable, storable

LONGEST_SHOWN = 200  # characters of a value
DIGEST = 12  # characters


class Verb(StrEnum):
    """What is to be done with a definition, by the sign that stands before it."""

    CREATE = "+"
    CHANGE = "~"
    DELETE = "-"
    LEAVE = " "


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One value, before and after; None where there is none."""

    path: str
    before: Any = None
    after: Any = None
    verb: Verb = Verb.CHANGE


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with one job or source."""

    section: str
    name: str
    verb: Verb
    differences: tuple[Difference, ...] = ()
    unpinned: tuple[str, ...] = ()
    """Keys of a source that are not in the file and go."""
    wanted: Definition | None = None

    @property
    def kind(self) -> str:
        return self.section.removesuffix("s")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All steps, in the order in which they are done, and what is left as it is."""

    steps: tuple[Step, ...]
    unchanged: int
    left_alone: tuple[str, ...]
    """What is there and not in the document, as paths."""

    @property
    def digest(self) -> str:
        told = [
            (
                step.section,
                step.name,
                step.verb,
                step.unpinned,
                [msgspec.to_builtins(one) for one in step.differences],
            )
            for step in self.steps
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGEST]

    def count(self, verb: Verb) -> int:
        return sum(step.verb == verb for step in self.steps)

    @property
    def summary(self) -> str:
        counts = (
            f"{self.count(Verb.CREATE)} created, {self.count(Verb.CHANGE)} changed, {self.count(Verb.DELETE)} deleted, "
            f"{self.unchanged} unchanged"
        )
        return f"{counts}, {len(self.left_alone)} left alone" if self.left_alone else counts

    def lines(self) -> Iterator[str]:
        """The plan for people, line by line; the first character tells what a line is about."""
        for step in self.steps:
            yield f"{step.verb} {step.kind} {printable(step.name)}"
            for difference in step.differences:
                yield f"{difference.verb}     {_words(difference)}"
            for key in step.unpinned:
                yield f"{Verb.DELETE}     {KEYS}.{printable(key)}"
        for path in self.left_alone:
            yield f"{Verb.LEAVE} {printable(path)} is not in the file, and left alone"


def make(wanted: Document, there: Document, *, prune: bool, spared: frozenset[str] = frozenset()) -> Plan:
    """What leads from the document of what is `there` to the one that is `wanted`.

    What is there and not wanted is deleted if `prune`, but for the jobs that are `spared`.
    """
    steps: list[Step] = []
    left_alone: list[str] = []
    unchanged = 0
    for section, shape in zip(SECTIONS, (SOURCE, JOB), strict=True):
        wanted_here, there_now = getattr(wanted, section), getattr(there, section)
        for name, definition in wanted_here.items():
            step, kept = _step(section, shape, definition, there_now.get(name), prune=prune)
            left_alone += kept
            if step is None:
                unchanged += 1
            else:
                steps.append(step)
        for name in there_now:
            if name in wanted_here or (section == "jobs" and name in spared):
                continue
            if prune:
                steps.append(Step(section=section, name=name, verb=Verb.DELETE))
            else:
                left_alone.append(f"{section}.{name}")
    return Plan(steps=tuple(steps), unchanged=unchanged, left_alone=tuple(left_alone))


def _step(
    section: str, shape: Shape, wanted: Definition, there: Definition | None, *, prune: bool
) -> tuple[Step | None, list[str]]:
    """What is to be done, if anything; and the paths of keys that are left alone."""
    differences = [*_differences(shape, wanted.fields, None if there is None else there.fields)]
    keys = {} if there is None else there.keys
    for key, fields in wanted.keys.items():
        differences += _key_differences(key, fields, keys.get(key))
    surplus = tuple(key for key in keys if key not in wanted.keys)
    kept = [] if prune else [f"{section}.{wanted.name}.{KEYS}.{key}" for key in surplus]
    unpinned = surplus if prune else ()
    if there is not None and not differences and not unpinned:
        return None, kept
    verb = Verb.CREATE if there is None else Verb.CHANGE
    step = Step(
        section=section,
        name=wanted.name,
        verb=verb,
        differences=tuple(differences),
        unpinned=unpinned,
        wanted=wanted,
    )
    return step, kept


def _key_differences(key: str, wanted: Written, there: Written | None) -> Iterator[Difference]:
    path = f"{KEYS}.{key}"
    if there is None:
        yield Difference(path=path, after=KEY.essential(wanted), verb=Verb.CREATE)
        return
    for one in _differences(KEY, wanted, there):
        yield msgspec.structs.replace(one, path=f"{path}.{one.path}")


def _differences(shape: Shape, wanted: Written, there: Written | None) -> Iterator[Difference]:
    if there is None:
        for name, value in shape.essential(wanted).items():
            yield Difference(path=name, after=value, verb=Verb.CREATE)
        return
    for name in shape.fields:
        yield from _values(name, wanted[name], there[name])


def _values(path: str, wanted: Any, there: Any) -> Iterator[Difference]:
    """The differences of two values, inside mappings name by name."""
    if same(wanted, there):
        return
    if not isinstance(wanted, Mapping) or not isinstance(there, Mapping):
        yield Difference(path=path, before=there, after=wanted)
        return
    for name in there:
        if name not in wanted:
            yield Difference(path=f"{path}.{name}", before=there[name], verb=Verb.DELETE)
    for name, value in wanted.items():
        if name not in there:
            yield Difference(path=f"{path}.{name}", after=value, verb=Verb.CREATE)
        else:
            yield from _values(f"{path}.{name}", value, there[name])


def _words(one: Difference) -> str:
    path = printable(one.path)
    match one.verb:
        case Verb.CREATE:
            return f"{path}: {_shown(one.after)}"
        case Verb.DELETE:
            return f"{path}: {_shown(one.before)}"
    return f"{path}: {_shown(one.before)} -> {_shown(one.after)}"


def _shown(value: Any) -> str:
    """A value in one line of JSON, without secrets, and with nothing in it that does something to a terminal."""
    text = printable(storable(json.dumps(value, ensure_ascii=False)))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
