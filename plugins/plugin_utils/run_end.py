# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revokes the tokens of a run when the main process of Ansible ends.

A worker process logs in and ends with its task, but the run needs the token until its end. If a run uses only lookups,
the main process never loads our plugins. It also must not import our files in its results thread: the main thread may
fork at that moment, and the fork would hang when it imports the same file. Therefore, the worker process pickles the
revocation and passes the bytes to the main process, which unpickles them when it ends.

This file imports little, because the main process may import it before a fork.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.termination import AFTER_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.auth import Token
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings


@dataclass(frozen=True)
class _Call:
    """A call of a function in the process that unpickles this object."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def revoke_at_end(settings: Settings, token: Token) -> None:
    """Let the main process of Ansible revoke a token when it ends, even after an error, Ctrl-C, SIGTERM or SIGHUP.

    If the login was in a worker process, signals are only handled from the next start of a worker process on, unless
    the main process has loaded one of our action plugins. An error here is only a debug message, because the token is
    valid.
    """
    try:
        _register(settings, token)
    except Exception as unexpected:  # such as from another version of Ansible; its text may contain the token
        Display().vvv(f"The access token of this run will not be revoked: {_describe(unexpected)}")


def _register(settings: Settings, token: Token) -> None:
    without = replace(settings, client_secret="", token="", jwt="", password="")  # a revocation does not need them
    main = multiprocessing.parent_process()
    if main is None:
        exit_on_signals()
        atexit.register(_revoke, without, token, os.getpid())
        return
    # Import `startup` first, so that the main process uses the bytecode of the client.
    first = _Call(import_module, (f"{__name__.rpartition('.')[0]}.startup",))
    revocation = pickle.dumps((first, _Call(_revoke, (without, token, main.pid))))
    at_exit = _Call(atexit.register, (pickle.loads, revocation))
    handler = pickle.dumps(_Call(exit_on_signals))
    at_fork = _Call(partial(os.register_at_fork, before=partial(pickle.loads, handler)))
    # In a worker process, Ansible pickles these arguments, and the main process calls this method. It prints nothing,
    # because `log_only` and `screen_only` each turn off one of the two outputs: the result of `at_exit` is not false.
    Display().display("", log_only=True, screen_only=at_exit, newline=at_fork)


def _revoke(settings: Settings, token: Token, pid: int) -> None:
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.auth import revoke

    if os.getpid() != pid or token.is_dead(time.time()):  # another process is a fork of the main process
        return
    try:
        error = revoke(token.value, settings)
        problem = "" if error is None else error.problem
    except (Exception, KeyboardInterrupt) as unexpected:  # its text may contain the token
        problem = f"Could not revoke the access token: {_describe(unexpected)}"
    if problem:
        Display().vvv(problem)


def _describe(unexpected: BaseException) -> str:
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import describe_unexpected

    return describe_unexpected(unexpected)


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the main process of Ansible like Ctrl-C, so that Ansible cleans up and revocations are
    sent.

    A handler that does not belong to Ansible is kept, and an ignored signal stays ignored. In a worker process, nothing
    changes.
    """
    if multiprocessing.parent_process() is None and threading.current_thread() is threading.main_thread():
        for number in AFTER_FIRST:
            handler = signal.getsignal(number)
            if handler is signal.SIG_DFL or str(getattr(handler, "__module__", "")).startswith("ansible."):
                signal.signal(number, partial(_exit, os.getpid()))


def _exit(pid: int, number: int, _frame: object) -> None:
    if os.getpid() != pid:  # a fork of the main process
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    for each, later in AFTER_FIRST.items():
        if getattr(signal.getsignal(each), "func", None) is _exit:
            signal.signal(each, later)
    raise SystemExit(128 + number)
