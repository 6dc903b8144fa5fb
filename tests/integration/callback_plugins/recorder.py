# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback that writes each event as a line of JSON to the file $KEYFLEET_RECORD."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: recorder
type: aggregate
short_description: Write results as JSON lines
description:
  - Writes every result that callbacks receive.
"""


class CallbackModule(CallbackBase):
    """Results of tasks and items, and the recap."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, event: dict[str, Any]) -> None:
        with open(os.environ["KEYFLEET_RECORD"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(event, default=str) + "\n")

    def _record(self, status: str, result: Any) -> None:
        host, task = _part(result, "host"), _part(result, "task")
        event = {"status": status, "host": host.get_name(), "task": task.get_name(), "result": _part(result, "result")}
        self._write(event)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._record("item", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._record("item", result)

    def v2_runner_retry(self, result: Any) -> None:
        self._record("retry", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write({"status": "recap", "hosts": {host: stats.summarize(host) for host in stats.processed}})


def _part(result: Any, name: str) -> Any:
    # ansible-core 2.18 has only these attributes with a leading underscore.
    return getattr(result, name) if hasattr(result, name) else getattr(result, f"_{name}")
