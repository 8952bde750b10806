"""One contender of one benchmark, in this process: migrates and empties the database, measures, prints JSON."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from benchmarks.calls import Calls

# Those whose contenders are processes of their own, and what their amount is: seconds, times or rows.
OF_PROCESSES: dict[str, Callable[[str], float]] = {
    "steady": float,
    "latency": int,
    "takeover": int,
    "idle": float,
    "cleanup": int,
}


def measure(which: str, arguments: list[str]) -> dict[str, Any]:
    if which == "burst":
        from benchmarks import burst

        contender, jobs = arguments
        return burst.CONTENDERS[contender](int(jobs))
    if which in OF_PROCESSES:
        contender, amount = arguments
        measure_it = importlib.import_module(f"benchmarks.{which}").CONTENDERS[contender]
        with tempfile.TemporaryDirectory() as directory, closing(Calls(Path(directory, "calls"))) as calls:
            measured: dict[str, Any] = measure_it(OF_PROCESSES[which](amount), calls)
        return measured
    if which == "age":
        from benchmarks import age

        how, seconds = arguments
        return age.measure(how, float(seconds))
    if which == "admin":
        from benchmarks import admin

        return admin.measure()
    if which == "refresh":
        from benchmarks import refresh

        return refresh.measure()
    if which == "stampede":
        from benchmarks import stampede

        (contender,) = arguments
        return stampede.measure(contender)
    if which == "pages":
        from benchmarks import runs_pages

        return runs_pages.measure()
    from benchmarks import read

    (how,) = arguments
    return read.measure(how)


if __name__ == "__main__":
    # What a contender has to say about each job would be most of what is measured.
    logging.disable(logging.WARNING)
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    print(json.dumps(measure(sys.argv[1], sys.argv[2:])))
