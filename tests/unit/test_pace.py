# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a run start their syncs one after another, to stay below a rate limit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("ansible")

from ansible import constants
from ansible_collections.keyfleet.infisical.plugins.action import infisical_agent_sync as action


def test_hosts_start_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(action.time, "sleep", waits.append)
    started = time.monotonic()
    for _host in range(3):
        action._await_turn(1000.0)
    passed = time.monotonic() - started
    assert waits[0] == 0
    assert 1000 - passed <= waits[1] <= 1000 and 2000 - passed <= waits[2] <= 2000
