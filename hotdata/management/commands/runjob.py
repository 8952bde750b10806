"""`manage.py runjob`: runs one job here and now, or puts it down for later."""

from __future__ import annotations

import argparse
import threading
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone
from tqdm import tqdm

from hotdata import registry
from hotdata.conf import conf
from hotdata.exceptions import HotdataError
from hotdata.execution.context import CurrentRun, captured_output
from hotdata.execution.runner import execute
from hotdata.management.when import parse_when
from hotdata.models import Job, Run
from hotdata.models.history import edited_by
from hotdata.models.runs import Cause, State
from hotdata.models.schedules import Kind
from hotdata.scheduling.presence import Presence
from hotdata.text import storable

EPILOG = """\
examples:
  manage.py runjob update_stocks
  manage.py runjob cleanup_logs --param days=30
  manage.py runjob update_news --at "in 5 minutes"

Without --at the job runs in this process, beside its schedule, and is recorded like any other run. With --at a
one-off job of the same task and parameters is made, which the scheduler fires at that time.

Exit code: 0 when the run succeeded (or the one-off was made), 1 when it did not.
"""


class Command(BaseCommand):
    help = "Run a job now, in the foreground, or once at a later time."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("name", help="the job's name")
        parser.add_argument(
            "--param",
            action="append",
            default=[],
            metavar="K=V",
            help="replace a parameter; V is JSON, or plain text where the parameter is a text (repeatable)",
        )
        parser.add_argument("--at", metavar="WHEN", help="'in 5 minutes', '09:30' or '2026-11-24 09:30'")

    def handle(self, *args: Any, name: str, param: list[str], at: str | None, **options: Any) -> None:
        try:
            self._run(name, param, at)
        except OperationalError as error:
            raise CommandError(f"The database can't be used now: {error}") from error

    def _run(self, name: str, param: list[str], at: str | None) -> None:
        job = Job.objects.filter(name=storable(name)).first()
        if job is None:
            known = ", ".join(Job.objects.values_list("name", flat=True)) or "none; see setup_hotdata"
            raise CommandError(f"There is no job named {name!r}. Jobs: {known}.")
        try:
            params = job.params | dict(_read_param(job, text) for text in param)
            registry.tasks.get(job.task).validate(params)
            if at is None:
                self._run_now(job, params)
            else:
                self._run_later(job, params, parse_when(at, now=timezone.now(), time_zone=job.time_zone))
        except (HotdataError, ValueError) as error:
            raise CommandError(str(error)) from error

    def _run_later(self, job: Job, params: dict[str, Any], at: datetime) -> None:
        once = one_off(job, params, at)
        try:
            once.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        with edited_by("runjob"):
            once.save()
        local = at.astimezone(ZoneInfo(job.time_zone))
        self.stdout.write(f"{once.name} will run at {local.isoformat(timespec='seconds')}.")

    def _run_now(self, job: Job, params: dict[str, Any]) -> None:
        with Presence(timeout=conf().node_timeout) as presence:
            run = job.request_run(Cause.CLI, params=params, by="runjob", node=presence.name)
            with captured_output(), ProgressBar(job.name) as bar:
                execute(run.id, presence.name, on_context=bar.follow)
        run = Run.objects.get(pk=run.pk)
        if run.log:
            self.stdout.write(run.log.rstrip())
        took = f"{run.duration.total_seconds():.2f} s" if run.duration is not None else "no time"
        self.stdout.write(f"{job.name}: run {run.id} {run.get_state_display().lower()} after {took}.")
        if run.state == State.RETRYING:
            self.stdout.write(
                f"The scheduler tries it again at {run.ready_at.isoformat(timespec='seconds')}."
            )
        if run.result is not None:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(run.result), indent=2).decode())
        if run.state != State.SUCCEEDED:
            raise CommandError(run.error or run.reason or "It did not succeed.")


def one_off(job: Job, params: dict[str, Any], at: datetime) -> Job:
    """An unsaved copy of `job` that runs once, at `at`."""
    once = Job.objects.get(pk=job.pk)
    once.pk, once._state.adding = None, True
    stamp = f"{at.astimezone(timezone.get_default_timezone()):%Y%m%d-%H%M%S}"
    once.name = f"{job.name[:80]}-at-{stamp}"
    once.title = f"{job.title or job.name}, once"
    once.params = params
    once.trigger, once.run_at = Kind.DATE, at
    once.cron, once.interval, once.starts_at, once.ends_at = "", None, None, None
    once.paused, once.pause_note, once.paused_by, once.paused_until = False, "", "", None
    once.created_at = timezone.now()
    return once


def _read_param(job: Job, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--param {text!r} must have the form name=value.")
    types = {param.name: param.bare_type for param in registry.tasks.get(job.task).params}
    if types.get(name) is str:
        return name, value
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


class ProgressBar:
    """Shows the progress of a run on the terminal, from a thread of its own."""

    def __init__(self, title: str) -> None:
        self._bar: tqdm[Any] = tqdm(desc=title, unit="", leave=False, disable=None, dynamic_ncols=True)
        self._context: CurrentRun | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def follow(self, context: CurrentRun) -> None:
        self._context = context

    def __enter__(self) -> ProgressBar:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._bar.close()

    def _draw(self) -> None:
        while not self._ended.wait(0.1):
            if self._context is not None:
                self._bar.total = self._context.total
                self._bar.n = self._context.done
                self._bar.refresh()
