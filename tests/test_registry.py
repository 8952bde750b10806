"""What code registers: which functions may be tasks and fetchers, and what their parameters accept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured

import hotdata
from hotdata import registry
from hotdata.exceptions import BadParams, RegistrationError, UnknownTask

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 60  # seconds


@pytest.fixture(autouse=True)
def _empty_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests register is gone with them."""
    monkeypatch.setattr(registry, "tasks", registry.Registry("task"))
    monkeypatch.setattr(registry, "fetchers", registry.Registry("fetcher"))


def make_task(function: Callable[..., Any]) -> registry.Task:
    hotdata.task(name="made")(function)
    return registry.tasks.get("made")


# Functions that a test names in an annotation or registers twice


class Quote(msgspec.Struct):
    symbol: str
    price: float = 0.0


class Strange:
    pass


def clean(days: int = 90, *, dry_run: bool = False) -> int:
    """Delete what is old.

    And more about it.
    """
    return days if dry_run else 0


def report(
    source: str,
    keys: list[str] | None = None,
    limits: dict[str, int] | None = None,
    kind: Literal["daily", "weekly"] = "daily",
    share: float = 0.5,
) -> None:
    pass


# What is registered


def test_a_signature_becomes_the_parameters() -> None:
    params = make_task(report).params
    assert [param.name for param in params] == ["source", "keys", "limits", "kind", "share"]
    assert [param.required for param in params] == [True, False, False, False, False]
    assert [param.default for param in params] == [None, None, None, "daily", 0.5]


@pytest.mark.parametrize(
    ("function", "described"),
    [
        (
            report,
            [
                "source: str",
                "keys: list[str] | None = None",
                "limits: dict[str, int] | None = None",
                "kind: Literal['daily', 'weekly'] = 'daily'",
                "share: float = 0.5",
            ],
        ),
        (clean, ["days: int = 90", "dry_run: bool = False"]),
    ],
)
def test_parameters_are_described_as_their_author_wrote_them(
    function: Callable[..., Any], described: list[str]
) -> None:
    assert [param.describe() for param in make_task(function).params] == described


def test_a_decorated_function_is_returned_unchanged_under_its_own_name() -> None:
    assert hotdata.task(clean) is clean
    assert registry.tasks.get("clean").function is clean
    assert clean(3, dry_run=True) == 3


def test_a_name_in_the_decorator_takes_the_place_of_the_functions() -> None:
    assert hotdata.task(name="clean_up")(clean) is clean
    assert registry.tasks.get("clean_up").name == "clean_up"
    assert "clean" not in registry.tasks


def test_the_first_line_of_the_docstring_is_the_description() -> None:
    assert make_task(clean).description == "Delete what is old."


def test_without_a_docstring_there_is_no_description() -> None:
    assert make_task(report).description == ""


def test_registered_things_are_listed_by_name() -> None:
    for name in ("b", "a", "c"):
        hotdata.task(name=name)(clean)
    assert [task.name for task in registry.tasks] == ["a", "b", "c"]


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTask, match=r"No task named 'os\.system' is registered\. Registered: none\."):
        registry.tasks.get("os.system")
    hotdata.task(clean)
    with pytest.raises(UnknownTask, match=r"Registered: clean\."):
        registry.tasks.get("cleen")


# What can't be registered


@pytest.mark.parametrize(
    "name", ["Clean", "1st", "_x", "a-b", "a.b", "os.system", "a b", "清理", "a\n", "x" * 101]
)
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(RegistrationError, match=r"can't name a task: use a-z, 0-9 and _"):
        hotdata.task(name=name)(clean)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(RegistrationError, match="'<lambda>' can't name a task"):
        hotdata.task(lambda: None)


def test_two_functions_cannot_share_a_name() -> None:
    hotdata.task(clean)
    with pytest.raises(RegistrationError) as refused:
        hotdata.task(name="clean")(report)
    assert "Two functions are registered as task 'clean'" in str(refused.value)
    assert f"{__name__}.clean and {__name__}.report" in str(refused.value)
    assert registry.tasks.get("clean").function is clean


def test_a_module_that_is_imported_again_registers_its_own_task_again() -> None:
    hotdata.task(clean)
    hotdata.task(clean)
    assert len(list(registry.tasks)) == 1


def test_a_task_and_a_fetcher_may_share_a_name() -> None:
    hotdata.task(name="stock")(clean)
    hotdata.fetcher(name="stock")(lambda keys: {})
    assert "stock" in registry.tasks
    assert "stock" in registry.fetchers


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
@pytest.mark.parametrize("register", [hotdata.task, hotdata.fetcher])
def test_what_would_do_nothing_when_called_is_refused(register: Any, function: Callable[..., Any]) -> None:
    with pytest.raises(RegistrationError, match=r"must be a plain function, neither async nor a generator"):
        register(function)


def test_arguments_that_params_cannot_fill_are_refused() -> None:
    for function in (lambda *args: None, lambda **kwargs: None, lambda x, /: None):
        with pytest.raises(RegistrationError, match=r"can't take \*args, \*\*kwargs or positional-only"):
            make_task(function)


def test_a_parameter_without_a_type_is_refused_by_name() -> None:
    def half(days: int, source) -> None:  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(
        RegistrationError, match=r"The parameter 'source' of the task .*half needs a type annotation"
    ):
        hotdata.task(half)


@pytest.mark.parametrize("annotation", ["Nowhere", "datetime.nope", "list[", "int | 'x'", "5", "list | 3"])
def test_an_annotation_that_cannot_be_resolved_is_refused(annotation: str) -> None:
    def function(value):  # type: ignore[no-untyped-def]
        pass

    function.__annotations__ = {"value": annotation}
    with pytest.raises(
        RegistrationError, match=r"annotation that can't be resolved|type that can't come from JSON"
    ):
        hotdata.task(function)


@pytest.mark.parametrize(
    "kind", [Strange, object, complex, Callable[[], None], list[Strange], list[int] | set[int]]
)
def test_a_type_that_cannot_come_from_json_is_refused(kind: Any) -> None:
    def function(value):  # type: ignore[no-untyped-def]
        pass

    function.__annotations__ = {"value": kind}
    with pytest.raises(
        RegistrationError, match=r"The parameter value: .* has a type that can't come from JSON"
    ):
        hotdata.task(function)


def test_a_registration_error_is_a_mistake_in_the_configuration() -> None:
    assert issubclass(RegistrationError, ImproperlyConfigured)


# What parameters accept


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "北京", "北京"),
        (bool, False, False),
        (list[str], ["a"], ["a"]),
        (list[str] | None, None, None),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Literal["a", "b"], "b", "b"),
        (date, "2026-11-23", date(2026, 11, 23)),
        (datetime, "2026-11-23T10:00:00", datetime(2026, 11, 23, 10)),  # noqa: DTZ001 - as it was given
        (timedelta, "PT5M", timedelta(minutes=5)),
        (Decimal, "1.10", Decimal("1.10")),
        (UUID, "12345678123456781234567812345678", UUID(int=0x12345678123456781234567812345678)),
        (Quote, {"symbol": "AAPL"}, Quote(symbol="AAPL")),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_json_becomes_the_type_that_the_author_asked_for(kind: Any, value: Any, converted: Any) -> None:
    got = registry.Param(name="value", type=kind, required=True).convert(value)
    assert got == converted
    assert type(got) is type(converted)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "3"),
        (int, 3.0),
        (int, True),
        (int, None),
        (bool, 1),
        (bool, "true"),
        (float, "0.5"),
        (str, 5),
        (str, None),
        (list[str], "AAPL"),
        (list[str], [1]),
        (list[int], {"0": 1}),
        (dict[str, int], []),
        (dict[str, int], {"a": "1"}),
        (Literal["a", "b"], "c"),
        (date, "yesterday"),
        (Quote, {}),
        (Quote, "AAPL"),
    ],
)
def test_nothing_is_guessed(kind: Any, value: Any) -> None:
    with pytest.raises(
        BadParams, match=r"^value: Expected|^value: Invalid|^value: Object missing"
    ) as refused:
        registry.Param(name="value", type=kind, required=True).convert(value)
    assert refused.value.param == "value"
    assert refused.value.permanent


def test_only_what_was_given_is_passed_on_so_that_defaults_stay_the_functions() -> None:
    task = make_task(report)
    assert task.validate({"source": "stock"}) == {"source": "stock"}
    assert task.validate({"source": "stock", "keys": ["A"]}) == {"source": "stock", "keys": ["A"]}


@pytest.mark.parametrize(
    ("params", "param", "message"),
    [
        ({}, "source", "source: this parameter is required."),
        ({"source": 5}, "source", "source: Expected `str`, got `int`."),
        ({"source": "s", "keys": "A"}, "keys", "keys: Expected `array | null`, got `str`."),
        ({"source": "s", "keys": ["A", 1]}, "keys", "keys: Expected `str`, got `int` - at `$[1]`."),
        (
            {"source": "s", "day": 1},
            "day",
            "made has no parameter 'day'; it takes: source, keys, limits, kind, share.",
        ),
        ([], "", "The parameters must be a JSON object, not list."),
        (None, "", "The parameters must be a JSON object, not NoneType."),
        ("source", "", "The parameters must be a JSON object, not str."),
    ],
)
def test_params_that_do_not_fit_are_refused_with_the_reason(params: Any, param: str, message: str) -> None:
    with pytest.raises(BadParams) as refused:
        make_task(report).validate(params)
    assert str(refused.value) == message
    assert refused.value.param == param


def test_a_task_without_parameters_says_so() -> None:
    with pytest.raises(BadParams, match="made has no parameter 'x'; it takes: none"):
        make_task(lambda: None).validate({"x": 1})


# Names


Metal = Annotated[str, registry.Names(lambda name: "" if name == "gold" else f"{name!r} is no metal.")]


def smelt(metal: Metal = "lead", other: Annotated[str | None, *Metal.__metadata__] = None) -> None:
    pass


def test_what_is_named_must_exist_for_who_edits_and_not_for_who_runs() -> None:
    task = make_task(smelt)
    for params in ({}, {"metal": "gold"}, {"other": None}, {"other": "gold"}):
        task.check_names(params)
    for name in ("metal", "other"):
        assert task.validate({name: "tin"}) == {name: "tin"}
        with pytest.raises(BadParams) as refused:
            task.check_names({name: "tin"})
        assert (str(refused.value), refused.value.param) == (f"{name}: 'tin' is no metal.", name)


def test_a_parameter_that_names_something_is_described_as_any_other() -> None:
    assert [param.describe() for param in make_task(smelt).params] == [
        "metal: str = 'lead'",
        "other: str | None = None",
    ]


# Fetchers


def fetch_rates(keys: Sequence[str]) -> dict[str, Any]:
    """Fetch rates of exchange."""
    return dict.fromkeys(keys, 1.0)


def test_a_fetcher_is_returned_unchanged_and_found_by_its_name() -> None:
    assert hotdata.fetcher(fetch_rates) is fetch_rates
    fetcher = registry.fetchers.get("fetch_rates")
    assert fetcher.function is fetch_rates
    assert fetcher.description == "Fetch rates of exchange."


@pytest.mark.parametrize(
    "function",
    [lambda: None, lambda keys, more: {}, lambda **keys: {}, lambda *keys: {}, lambda *, keys: {}],
)
def test_a_fetcher_that_does_not_take_the_keys_is_refused(function: Any) -> None:
    with pytest.raises(RegistrationError, match="must take one argument: the keys to fetch"):
        hotdata.fetcher(name="f")(function)


def test_two_fetchers_cannot_share_a_name() -> None:
    hotdata.fetcher(name="f")(fetch_rates)
    with pytest.raises(RegistrationError, match="registered as fetcher 'f'"):
        hotdata.fetcher(name="f")(lambda keys: {})


def test_an_unknown_fetcher_is_called_one() -> None:
    with pytest.raises(UnknownTask, match="No fetcher named 'x' is registered"):
        registry.fetchers.get("x")


# At start, in processes of their own


def check(app: Path, tasks: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py check`` on a site with an app whose tasks.py reads `tasks`."""
    (app / "shop").mkdir()
    (app / "shop/__init__.py").touch()
    (app / "shop/tasks.py").write_text(tasks)
    (app / "shop_settings.py").write_text(
        "from project.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'shop']\n"
    )
    path = os.pathsep.join([str(app), str(ROOT)])
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": path,
            "DJANGO_SETTINGS_MODULE": "shop_settings",
            "DATABASE_URL": f"sqlite:///{app / 'shop.sqlite3'}",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_tasks_of_installed_apps_are_found_when_django_starts(tmp_path: Path) -> None:
    done = check(
        tmp_path,
        "import hotdata\n"
        "@hotdata.task\n"
        "def sell(days: int = 1) -> None: ...\n"
        "from hotdata import registry\n"
        "import atexit\n"
        "atexit.register(lambda: print(sorted(task.name for task in registry.tasks)))\n",
    )
    assert done.returncode == 0, done.stderr
    for name in ("'sell'", "'refresh_source'", "'cleanup_logs'", "'health_check'"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        (
            "import hotdata\n@hotdata.task\ndef sell(days) -> None: ...\n",
            "RegistrationError: The parameter 'days' of the task shop.tasks.sell needs a type annotation.",
        ),
        (
            "import hotdata\n@hotdata.task(name='cleanup_logs')\ndef sell() -> None: ...\n",
            "RegistrationError: Two functions are registered as task 'cleanup_logs': hotdata.tasks.cleanup_logs "
            "and shop.tasks.sell.",
        ),
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
    ],
)
def test_a_broken_tasks_module_stops_the_site_with_a_clear_sentence(
    tmp_path: Path, tasks: str, sentence: str
) -> None:
    done = check(tmp_path, tasks)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_two_functions_of_one_name_in_one_module_cannot_share_it() -> None:
    def make(line: int) -> Any:
        return compile("\n" * line + "def twice() -> None: ...", "shop/tasks.py", "exec")

    first: dict[str, Any] = {"__name__": "shop.tasks"}
    second: dict[str, Any] = {"__name__": "shop.tasks"}
    exec(make(1), first)
    exec(make(9), second)
    try:
        hotdata.task(first["twice"])
        hotdata.task(first["twice"])
        with pytest.raises(RegistrationError, match="Two functions are registered as task 'twice'"):
            hotdata.task(second["twice"])
    finally:
        registry.tasks.remove("twice")
