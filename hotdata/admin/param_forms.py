"""Forms that have the fields of a task's parameters, beside whatever else they have."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _

from hotdata import registry
from hotdata.admin.fields import TypedJSONField
from hotdata.admin.task_params import field_name, fits, param_fields, read_params
from hotdata.exceptions import BadParams, UnknownTask
from hotdata.registry import Task

WHOLE = "params"
"""The field for all parameters as one JSON object: where the task is unknown, or takes others than there are."""


def task_called(name: str) -> Task | None:
    try:
        return registry.tasks.get(name)
    except UnknownTask:
        return None


class ParamsForm(forms.Form):
    """The parameters alone; a mixin where a form has more fields. Call `add_params` once it is made."""

    task_of_params: Task | None = None
    stored_params: Any = {}
    problem_of_params = ""
    """Why what is stored can't be shown in fields."""

    def add_params(self, task: Task | None, stored: Any) -> None:
        """Add the fields of `task`, filled in with `stored`; or else one field for the JSON, with the problem told."""
        self.task_of_params, self.stored_params = task, stored
        shows_all = (task is not None and fits(task, stored)) or (task is None and not stored)
        as_one = WHOLE in self.data if self.is_bound else not shows_all
        if as_one:
            self.fields[WHOLE] = TypedJSONField(
                required=False, label=_("Parameters"), help_text=_("A JSON object.")
            )
            self.initial[WHOLE] = stored
            self.problem_of_params = self._problem(task, stored)
        elif task is not None:
            fitting = stored if isinstance(stored, dict) else {}
            for made in param_fields(task, fitting, self.data if self.is_bound else None):
                self.fields[made.name] = made.field
                self.initial[made.name] = made.initial

    def fill_in_missing(self) -> None:
        """Take what is stored, or else the defaults, for parameters that weren't on the form that came back."""
        data = cast("QueryDict", self.data).copy()
        for bound in self.bound_params():
            if bound.html_name not in data and bound.initial not in (None, False):
                data[bound.html_name] = bound.field.prepare_value(bound.initial)
        self.data = data

    def bound_params(self) -> list[forms.BoundField]:
        names = [WHOLE] if self.task_of_params is None else []
        names += [field_name(param.name, self.fields) or WHOLE for param in self._params()]
        return [self[name] for name in dict.fromkeys([*names, WHOLE]) if name in self.fields]

    def read_params(self) -> Any:
        """What the fields come to, checked against the task's signature; errors are added at the fields."""
        if WHOLE in self.fields:
            params: Any = self.cleaned_data.get(WHOLE)
            params = {} if params is None and WHOLE in self.cleaned_data else params
        elif self.task_of_params is not None:
            stored = self.stored_params if isinstance(self.stored_params, dict) else {}
            params = read_params(self.task_of_params, self.cleaned_data, self.data, stored)
        else:
            params = {}
        if self.task_of_params is not None and not self.has_param_errors():
            try:
                self.task_of_params.validate(params)
                # As the job itself does: what it names already may be gone.
                if params != self.stored_params:
                    self.task_of_params.check_names(params)
            except BadParams as error:
                self.add_error(field_name(error.param or "", self.fields) or self._whole(), str(error))
        return params

    def _params(self) -> Any:
        return self.task_of_params.params if self.task_of_params is not None else ()

    def _whole(self) -> str | None:
        return WHOLE if WHOLE in self.fields else None

    def has_param_errors(self) -> bool:
        return any(bound.errors for bound in self.bound_params())

    @staticmethod
    def _problem(task: Task | None, stored: Any) -> str:
        try:
            if task is not None:
                task.validate(stored)
        except BadParams as error:
            return str(error)
        return ""
