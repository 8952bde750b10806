"""Form fields for the parameters of a task, by its signature.

A parameter of a simple type has a field of its own kind, any other one a box for JSON. So has one whose stored value
a plain field would not give back as it is: a list with an empty text in it, or a text where a number belongs. A field
that is left empty leaves its parameter out, and the task's own default applies. The name of a field says its kind, so
a form that comes back is read the way it was shown.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import msgspec.inspect
from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from hotdata.admin.fields import TypedJSONField
from hotdata.registry import Param, Task

PLAIN, JSON = "param-", "json-"
"""What the names of fields begin with."""
OMITTED = object()
MOST_CHARACTERS = 100_000
DOCUMENTED = (
    r"^:param (?:[^:\n]* )?{name}:\s*(?P<text>.+(?:\n[ \t]+.+)*)",  # Sphinx
    r"^[ \t]+{name}(?: \([^)\n]*\))?:\s*(?P<text>.+(?:\n[ \t]{{6,}}.+)*)",  # Google
)
Types = msgspec.inspect
ITEMS: dict[type, type[str] | type[int] | type[float]] = {
    Types.StrType: str,
    Types.IntType: int,
    Types.FloatType: float,
}
"""What a list with a line for each item may hold."""


class LinesField(forms.CharField):
    """A list with one item on each line; blank lines are no items."""

    widget = forms.Textarea(attrs={"rows": 4, "cols": 60})

    def __init__(self, *, item: type[str] | type[int] | type[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.item = item

    def clean(self, value: Any) -> list[Any]:
        text = super().clean(value)
        return [self._read(line) for line in (line.strip() for line in text.splitlines()) if line]

    def show(self, value: Any) -> str:
        return "\n".join(str(item) for item in value)

    def _read(self, line: str) -> Any:
        try:
            return self.item(line)
        except ValueError as error:
            raise ValidationError(_("“%(line)s” is no number.") % {"line": line[:100]}) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (initial or "").splitlines() != (data or "").splitlines()


class ChoiceOfValues(forms.TypedChoiceField):
    """A choice of JSON values."""

    def __init__(
        self, values: Sequence[Any], labels: Mapping[Any, str] = {}, default: str = "", **kwargs: Any
    ) -> None:
        none = _("%(default)s, as the task has it") % {"default": default} if default else "---------"
        choices = [("", none), *((json.dumps(value), labels.get(value, str(value))) for value in values)]
        super().__init__(choices=choices, coerce=json.loads, empty_value=None, **kwargs)

    def show(self, value: Any) -> str:
        return json.dumps(value)


@dataclass(frozen=True, kw_only=True)
class ParamField:
    """A parameter's field, under its name in the form."""

    name: str
    field: forms.Field
    initial: Any


def param_fields(task: Task, stored: Mapping[str, Any], posted: Mapping[str, Any] | None) -> list[ParamField]:
    """A field for each parameter of `task`, filled in with the `stored` values, which may be anything."""
    docs = inspect.getdoc(task.function) or ""
    return [_param_field(param, stored.get(param.name, OMITTED), posted, docs) for param in task.params]


def read_params(
    task: Task, cleaned: Mapping[str, Any], posted: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters that the fields give. Those with errors, which are not in `cleaned`, are left out."""
    params = {}
    for param in task.params:
        name = param.name
        if PLAIN + name in cleaned:
            value = _read(cleaned[PLAIN + name])
        elif JSON + name in cleaned:
            value = cleaned[JSON + name]
            if value is None and str(posted.get(JSON + name, "")).strip() != "null":
                value = OMITTED
        else:
            continue
        # What the default says anyway is left out, unless it was said before.
        if value is not OMITTED and not (param.required or name in stored) and _same(value, param.default):
            value = OMITTED
        elif value is OMITTED and not param.required and _same(stored.get(name, OMITTED), param.default):
            value = stored[name]
        if value is not OMITTED:
            params[name] = value
    return params


def field_name(param: str, fields: Mapping[str, Any]) -> str | None:
    """Under which name of `fields` the parameter called `param` is filled in."""
    return next((kind + param for kind in (PLAIN, JSON) if kind + param in fields), None)


def fits(task: Task, params: Any) -> bool:
    """Whether fields can show all of `params`, rightly or wrongly filled in."""
    return isinstance(params, dict) and params.keys() <= {param.name for param in task.params}


def _param_field(param: Param, value: Any, posted: Mapping[str, Any] | None, docs: str) -> ParamField:
    options: dict[str, Any] = {
        "label": capfirst(_(param.name.replace("_", " "))),
        "required": param.required,
        "help_text": _documented(param.name, docs),
    }
    field = _plain_field(param, options)
    asked_for_json = posted is not None and JSON + param.name in posted
    if field is None or asked_for_json or not _gives_back(param, field, value):
        field = TypedJSONField(widget=forms.Textarea(attrs={"rows": 3, "cols": 60}), **options)
        # Django would show an absent value as null.
        name, shown = JSON + param.name, InvalidJSONInput("") if value is OMITTED else value
    else:
        name, shown = PLAIN + param.name, _shown(param, field, value)
    if isinstance(field, forms.CharField | forms.IntegerField):
        field.widget.attrs["placeholder"] = _default_of(param)
    return ParamField(name=name, field=field, initial=shown)


def _plain_field(param: Param, options: dict[str, Any]) -> forms.Field | None:
    """The field for a parameter of a simple type; None for one of any other type."""
    found, nullable = _simple_type(msgspec.inspect.type_info(param.type))
    match found:
        case Types.BoolType() if not nullable and (param.required or isinstance(param.default, bool)):
            return forms.BooleanField(**options | {"required": False})
        case Types.BoolType():
            return ChoiceOfValues(
                [True, False], {True: _("Yes"), False: _("No")}, default=_default_of(param), **options
            )
        case Types.LiteralType(values=values):
            offered = sorted((one for one in values if one is not None), key=str)
            return ChoiceOfValues(offered, default=_default_of(param), **options)
        case Types.EnumType(cls=cls):
            return ChoiceOfValues([member.value for member in cls], default=_default_of(param), **options)
        case Types.IntType():
            least = found.ge if found.gt is None else found.gt + 1
            most = found.le if found.lt is None else found.lt - 1
            return forms.IntegerField(min_value=least, max_value=most, **options)
        case Types.FloatType():
            widget = forms.NumberInput(attrs={"step": "any"})
            return forms.FloatField(min_value=found.ge, max_value=found.le, widget=widget, **options)
        case Types.StrType():
            most = found.max_length or MOST_CHARACTERS
            return forms.CharField(strip=False, max_length=most, **options)
        case Types.ListType() | Types.SetType() | Types.VarTupleType():
            inner, inner_nullable = _simple_type(found.item_type)
            item = ITEMS.get(type(inner))
            if item is not None and not inner_nullable:
                options = options | {"help_text": options["help_text"] or _("One on each line.")}
                return LinesField(item=item, max_length=MOST_CHARACTERS, **options)
    return None


def _simple_type(found: Any) -> tuple[Any, bool]:
    """The type without what says more about it, and whether it may also be None."""
    nullable = False
    while True:
        match found:
            case Types.Metadata(type=inner):
                found = inner
            case Types.UnionType(types=types):
                rest = [member for member in types if not isinstance(member, Types.NoneType)]
                if len(rest) != 1:
                    return found, nullable
                found, nullable = rest[0], True
            case _:
                return found, nullable


def _shown(param: Param, field: forms.Field, value: Any) -> Any:
    """What a plain field is filled in with."""
    if value is OMITTED:
        return param.default if isinstance(field, forms.BooleanField) else None
    return field.show(value) if isinstance(field, LinesField | ChoiceOfValues) else value


def _gives_back(param: Param, field: forms.Field, value: Any) -> bool:
    """Whether `field`, filled in with `value` and sent back, comes to the same."""
    if value is OMITTED:
        return True
    if isinstance(value, str) and not value.isprintable():
        return False  # a line break does not survive an input of one line
    try:
        back = _read(field.clean(_shown(param, field, value)))
    except (ValidationError, ValueError, TypeError, RecursionError):
        return False
    if back is OMITTED:
        return not param.required and _same(value, param.default)
    if isinstance(field, forms.FloatField):
        return type(value) in (int, float) and bool(back == value)
    return _same(back, value)


def _read(cleaned: Any) -> Any:
    return OMITTED if cleaned is None or cleaned == "" or cleaned == [] else cleaned


def _same(one: Any, other: Any) -> bool:
    """Whether they are the same in JSON, where 1 and true are not."""
    return repr(one) == repr(other)


def _default_of(param: Param) -> str:
    """What applies when nothing is given, for people; empty where there is nothing to say."""
    value = param.default
    if isinstance(value, enum.Enum):
        value = value.value
    if param.required or value is None:
        return ""
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    try:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return ""


def _documented(name: str, docs: str) -> str:
    """What a docstring says of the parameter called `name`, in Sphinx's or Google's way of writing; else nothing."""
    for pattern in DOCUMENTED:
        if found := re.search(pattern.format(name=re.escape(name)), docs, re.MULTILINE):
            return " ".join(found["text"].split())
    return ""
