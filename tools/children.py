"""Child processes that don't outlive whoever started them.

A `finally` covers every end of the parent but one: SIGKILL leaves no time for it. So on Linux the kernel is
asked to signal the child when its parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from typing import Any

PR_SET_PDEATHSIG = 1

# Loaded here, since the child must not import anything between fork and exec.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn(
    command: list[str], *, farewell: signal.Signals = signal.SIGTERM, **options: Any
) -> subprocess.Popen[Any]:
    """Start `command` in a session of its own, which gets the signal `farewell` when this process dies.

    In a session of its own, because Ctrl-C is sent to a whole process group, and the order of stopping is ours.
    """
    parent = os.getpid()

    def tie() -> None:
        if _libc is None:
            return
        _libc.prctl(PR_SET_PDEATHSIG, farewell)
        if os.getppid() != parent:  # it died before the kernel knew what to do then
            os._exit(1)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=tie, **options)


def stop(
    process: subprocess.Popen[Any], *, how: signal.Signals = signal.SIGTERM, patience: float = 10
) -> None:
    """Ask `process` to end; after `patience` seconds, end it."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
