# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a process clean up before SIGTERM ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class _Terminated(BaseException):
    """The process has received SIGTERM."""


@contextlib.contextmanager
def unwind_on_sigterm() -> Iterator[None]:
    """Context manager: on SIGTERM, run the `finally` clauses of the code inside, and then end as SIGTERM does.

    A second SIGTERM ends the process immediately. If SIGTERM is handled already, or in another thread than the main
    thread, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _unwind)
    try:
        yield
    except _Terminated:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unwind(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise _Terminated
