"""What code registers: tasks that jobs run, and fetchers that sources use.

Only what is registered here can ever run: the database holds names, and a name that isn't registered is an
error, never an import. A task's signature is its contract: its parameters' types and defaults are what a
job's ``params`` are checked against. Mistakes stop the process at start.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.exceptions import BadParams, RegistrationError, UnknownTask

NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
UNKNOWN = {
    "task": gettext_lazy("No task named %(name)r is registered. Registered: %(known)s."),
    "fetcher": gettext_lazy("No fetcher named %(name)r is registered. Registered: %(known)s."),
}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

TaskFunction = Callable[..., Any]
FetcherFunction = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Names:
    """In a parameter's `typing.Annotated`: its value is the name of something that must exist when a job is edited.

    By the time the job runs it may be gone; to say so then is the task's own affair.
    """

    missing: Callable[[Any], str]
    """Given a value of the parameter's type, what is wrong with it; empty if there is what it names."""


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter of a task."""

    name: str
    type: Any
    required: bool
    default: Any = None
    bare_type: Any = None
    """The type without what `typing.Annotated` adds to it."""
    names: tuple[Names, ...] = ()
    """What `typing.Annotated` adds of these, around the whole type."""

    def describe(self) -> str:
        """The parameter as its author wrote it, e.g. ``days: int = 90``."""
        bare = self.bare_type or self.type
        annotation = bare.__name__ if isinstance(bare, type) else str(bare)
        annotation = annotation.replace("typing.", "")
        return f"{self.name}: {annotation}" + ("" if self.required else f" = {self.default!r}")

    def convert(self, value: Any) -> Any:
        """Return the JSON value as the parameter's type, or raise BadParams.

        Nothing is guessed: ``"3"`` is no int and ``1`` is no bool.
        """
        try:
            # str_keys: in JSON they always are, so `dict[int, str]` could never be filled else.
            return msgspec.convert(value, self.type, str_keys=True)
        except msgspec.ValidationError as error:
            message = _("%(param)s: %(problem)s.") % {"param": self.name, "problem": error}
            raise BadParams(message, param=self.name) from error

    def check_names(self, value: Any) -> None:
        """Raise BadParams if the converted `value` names what doesn't exist. None names nothing."""
        for names in self.names:
            missing = names.missing(value) if value is not None else ""
            if missing:
                raise BadParams(f"{self.name}: {missing}", param=self.name)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A registered function: what a job may run."""

    name: str
    function: TaskFunction
    params: tuple[Param, ...]

    @property
    def description(self) -> str:
        """What operators read: the docstring's first line, in the active language where a catalogue has it."""
        return _description(self.function)

    def validate(self, params: Any) -> dict[str, Any]:
        """Check a job's JSON `params` and return them as the arguments to call the function with.

        Raises BadParams, naming the parameter, for one that is unknown, missing or of another type.
        """
        if not isinstance(params, dict):
            message = _("The parameters must be a JSON object, not %(type)s.")
            raise BadParams(message % {"type": type(params).__name__})
        _check_storable(params)
        known = {param.name: param for param in self.params}
        for name in params:
            if name not in known:
                takes = ", ".join(known) or _("none")
                message = _("%(task)s has no parameter %(param)r; it takes: %(takes)s.")
                facts = {"task": self.name, "param": name, "takes": takes}
                raise BadParams(message % facts, param=str(name))
        for param in self.params:
            if param.required and param.name not in params:
                message = _("%(param)s: this parameter is required.")
                raise BadParams(message % {"param": param.name}, param=param.name)
        return {name: known[name].convert(value) for name, value in params.items()}

    def check_names(self, params: Mapping[str, Any]) -> None:
        """Raise BadParams, naming the parameter, if one of the valid `params` names what doesn't exist."""
        for param in self.params:
            if param.name in params:
                param.check_names(param.convert(params[param.name]))


def _check_storable(params: dict[str, Any]) -> None:
    """Raise BadParams for what Python takes for JSON and a database doesn't: NaN, NUL, halves of characters."""
    try:
        text = json.dumps(params, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = _("The parameters can't be stored as JSON: %(problem)s.")
        raise BadParams(message % {"problem": error}) from error
    if "\\u0000" in text:
        raise BadParams(_("The parameters can't hold the character U+0000."))


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """A registered function that fetches values for a source that is not HTTP-JSON.

    It is called with a list of keys and returns a mapping from key to JSON value. A key that it leaves out,
    or whose value is an exception, counts as failed; an exception raised fails all of them.
    """

    name: str
    function: FetcherFunction

    @property
    def description(self) -> str:
        """As of a task."""
        return _description(self.function)


Registered = TypeVar("Registered", Task, Fetcher)


class Registry(Generic[Registered]):
    """The registered things of one kind, by name."""

    def __init__(self, kind: Literal["task", "fetcher"]) -> None:
        self.kind = kind
        self._by_name: dict[str, Registered] = {}

    def add(self, item: Registered) -> None:
        """Register `item`; raises RegistrationError for a name that is malformed or taken by another function."""
        if not NAME.fullmatch(item.name):
            raise RegistrationError(
                f"{item.name!r} can't name a {self.kind}: use a-z, 0-9 and _, beginning with a letter, at most 100."
            )
        there = self._by_name.get(item.name)
        if there is not None and _place(there.function) != _place(item.function):
            raise RegistrationError(
                f"Two functions are registered as {self.kind} {item.name!r}: {_origin(there.function)} "
                f"and {_origin(item.function)}. Rename one, or give it another name in the decorator."
            )
        self._by_name[item.name] = item

    def get(self, name: str) -> Registered:
        """The registered thing; raises UnknownTask (also for fetchers) when there is none of this name."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name)) or _("none")
            raise UnknownTask(UNKNOWN[self.kind] % {"name": name, "known": known}) from None

    def remove(self, name: str) -> None:
        """Forget a registration; for tests."""
        del self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Registered]:
        return iter(sorted(self._by_name.values(), key=lambda item: item.name))


tasks: Registry[Task] = Registry("task")
fetchers: Registry[Fetcher] = Registry("fetcher")


def _origin(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _place(function: Callable[..., Any]) -> tuple[str, object]:
    """Tells functions apart, also two of one name in one module; the same after a module is loaded again."""
    return _origin(function), getattr(getattr(function, "__code__", None), "co_firstlineno", None)


def _description(function: Callable[..., Any]) -> str:
    return _((inspect.getdoc(function) or "").partition("\n")[0].strip())


@overload
def task(function: TaskFunction, /) -> TaskFunction: ...
@overload
def task(*, name: str) -> Callable[[TaskFunction], TaskFunction]: ...
def task(function: TaskFunction | None = None, /, *, name: str = "") -> Any:
    """Register a function as a task, under its own name or `name`; the function itself is returned unchanged.

    Every parameter needs a type that can come from JSON. The docstring's first line is the description that
    operators see. Raises RegistrationError.
    """

    def register(function: TaskFunction) -> TaskFunction:
        tasks.add(Task(name=name or function.__name__, function=function, params=_params(function)))
        return function

    return register if function is None else register(function)


@overload
def fetcher(function: FetcherFunction, /) -> FetcherFunction: ...
@overload
def fetcher(*, name: str) -> Callable[[FetcherFunction], FetcherFunction]: ...
def fetcher(function: FetcherFunction | None = None, /, *, name: str = "") -> Any:
    """Register a function of one argument, the keys, as a fetcher. See `Fetcher` for what it returns."""

    def register(function: FetcherFunction) -> FetcherFunction:
        _check_plain("fetcher", function)
        parameters = inspect.signature(function).parameters.values()
        if [parameter.kind in POSITIONAL for parameter in parameters] != [True]:
            raise RegistrationError(
                f"The fetcher {_origin(function)} must take one argument: the keys to fetch."
            )
        fetchers.add(Fetcher(name=name or function.__name__, function=function))
        return function

    return register if function is None else register(function)


def _check_plain(kind: str, function: Callable[..., Any]) -> None:
    """Raise RegistrationError for what does nothing yet when it is called."""
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise RegistrationError(
            f"The {kind} {_origin(function)} must be a plain function, neither async nor a generator."
        )


def _params(function: TaskFunction) -> tuple[Param, ...]:
    """The parameters by `function`'s signature; raises RegistrationError for what a job's params can't fill."""
    origin = _origin(function)
    _check_plain("task", function)
    try:
        types = typing.get_type_hints(function, include_extras=True)
        bare_types = typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise RegistrationError(
            f"The task {origin} has an annotation that can't be resolved: {error}."
        ) from error
    return tuple(
        _param(origin, parameter, types, bare_types)
        for parameter in inspect.signature(function).parameters.values()
    )


def _param(
    origin: str, parameter: inspect.Parameter, types: Mapping[str, Any], bare_types: Mapping[str, Any]
) -> Param:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise RegistrationError(
            f"The task {origin} can't take *args, **kwargs or positional-only parameters."
        )
    if parameter.name not in types:
        raise RegistrationError(
            f"The parameter {parameter.name!r} of the task {origin} needs a type annotation."
        )
    required = parameter.default is parameter.empty
    param = Param(
        name=parameter.name,
        type=types[parameter.name],
        required=required,
        default=None if required else parameter.default,
        bare_type=bare_types[parameter.name],
        names=tuple(
            added for added in getattr(types[parameter.name], "__metadata__", ()) if isinstance(added, Names)
        ),
    )
    try:
        msgspec.json.schema(param.type)
    except (TypeError, RuntimeError) as error:
        raise RegistrationError(
            f"The parameter {param.describe()} of the task {origin} has a type that can't come from JSON."
        ) from error
    return param
