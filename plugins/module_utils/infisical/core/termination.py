# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a process clean up before SIGTERM or SIGHUP ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

AFTER_FIRST = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_IGN}
"""The signals, and how to handle them during the cleanup after the first one. If a terminal is closed, both the kernel
and the shell can send SIGHUP, and the second one must not end the cleanup."""


class _Terminated(BaseException):
    """The process has received the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def unwind_on_signals() -> Iterator[None]:
    """Context manager: on SIGTERM or SIGHUP, run the `finally` clauses of the code inside, and then end as the signal
    does.

    A later SIGTERM ends the process immediately. A signal that is handled already, or ignored as by `nohup`, is left
    alone. In another thread than the main thread, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    handled = [number for number in AFTER_FIRST if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _unwind)
    received = 0
    try:
        yield
    except _Terminated as terminated:
        received = terminated.number
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
    if received:
        os.kill(os.getpid(), received)


def _unwind(number: int, _frame: object) -> None:
    for each, handler in AFTER_FIRST.items():
        if signal.getsignal(each) is _unwind:
            signal.signal(each, handler)
    raise _Terminated(number)
