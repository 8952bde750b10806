"""The site's web server as a real process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

from tests.processes import PythonProcess

LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")


class WebServer(PythonProcess):
    """gunicorn, listening for as long as the block lasts."""

    url: str

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(
            ["-m", "gunicorn", "--config", "python:tests.browser.gunicorn", "project.wsgi"], environment
        )

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.wait_until(lambda: LISTENING.search(self.output) is not None)
        except BaseException:
            super().__exit__()
            raise
        found = LISTENING.search(self.output)
        assert found is not None
        self.url = found.group(1)
        return self
