# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login options that the base of all action plugins sends to a task's host."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ansible")
pytest.importorskip("requests")

from ansible_collections.keyfleet.infisical.plugins.action.infisical_secret import ActionModule
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.plugin_utils import fast_path, run_cache

CERTIFICATE = {"client_cert": "/etc/controller.pem", "client_key": "/etc/controller.key"}


def send(monkeypatch: pytest.MonkeyPatch, directory: Path, method: str, connection: str) -> dict[str, Any]:
    """Return the arguments of a module if the controller has logged in."""
    options = {"url": "https://infisical.example.com", "auth_method": method, "identity_id": "id", **CERTIFICATE}
    sent: list[dict[str, Any]] = []

    def execute(arguments: dict[str, Any], *more: Any) -> dict[str, Any]:
        sent.append(arguments)
        return {}

    monkeypatch.setattr(fast_path, "run_directory", lambda: str(directory))
    monkeypatch.setattr(run_cache.RunCache, "token", lambda self, rejected="": "token")
    action = ActionModule.__new__(ActionModule)
    action._connection = SimpleNamespace(ansible_name=connection)
    monkeypatch.setattr(action, "_execute", execute)
    action._execute_with_token({**options, "name": "A"}, Settings.from_options(options), {}, wrap_async=False)
    [arguments] = sent
    return arguments


@pytest.mark.parametrize(
    ("method", "connection", "kept"),
    [
        ("tls_cert_auth", "ansible.builtin.ssh", {}),
        ("tls_cert_auth", "ansible.builtin.local", CERTIFICATE),
        ("jwt_auth", "ansible.builtin.ssh", CERTIFICATE),
    ],
)
def test_certificate_of_the_controller_is_not_sent_to_a_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, connection: str, kept: dict[str, str]
) -> None:
    assert send(monkeypatch, tmp_path, method, connection) == {
        "url": "https://infisical.example.com", "name": "A", "auth_method": "token", "token": "token", **kept,
    }  # fmt: skip
