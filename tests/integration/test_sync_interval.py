# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter sync_interval in real playbook runs: numbers and lists of hosts, and what it refuses."""

from __future__ import annotations

import json

import pytest
from integration.controller import Controller

FILTER = "keyfleet.infisical.sync_interval"


@pytest.mark.core
def test_hosts_are_a_number_or_a_list_and_numbers_may_be_text(ansible: Controller) -> None:
    run = ansible.tasks(
        f"""
        - name: intervals
          ansible.builtin.debug:
            msg:
              - "{{{{ 1000 | {FILTER}(rate_limit=120) }}}}"
              - "{{{{ 1000 | {FILTER}(2, 120) }}}}"
              - "{{{{ size | {FILTER}(requests=each, rate_limit=limit) }}}}"
              - "{{{{ groups['all'] | {FILTER}(requests=10, rate_limit=40) }}}}"
              - "{{{{ 100000 | {FILTER}(rate_limit=120) }}}}"
              - "{{{{ 1000000 | {FILTER}(rate_limit=0) }}}}"
        """,
        hosts=3,
        extra={"size": "1000", "each": "3", "limit": 120},
    ).succeeded()

    assert run.results("intervals")[0]["msg"] == ["15m", "1h", "2h", "2m", "1d", "1m"]


def test_what_no_interval_bears_and_what_is_no_number_fails_with_what_to_do(ansible: Controller) -> None:
    refused = {
        "too many": ("50000", "rate_limit=40", "once a day, it bears 22833. Raise rate_limit"),
        "no limit given": ("5", "", "rate_limit: not given"),
        "half a host": ("1.5", "rate_limit=40", "hosts: it must be a whole number"),
        "a name": ("'web1'", "rate_limit=40", "hosts: it must be a whole number"),
        "a truth": ("5", "requests=true, rate_limit=40", "requests: it must be a whole number"),
        "no request": ("5", "requests=0, rate_limit=40", "requests: 0 is too small"),
    }
    run = ansible.tasks(
        "".join(
            f"""
        - name: {name}
          ansible.builtin.debug: {{msg: "{{{{ {hosts} | {FILTER}({arguments}) }}}}"}}
          ignore_errors: true
        """
            for name, (hosts, arguments, _said) in refused.items()
        )
    ).succeeded()

    for name, (_hosts, _arguments, said) in refused.items():
        message = json.dumps(run.failure(name))
        assert said in message, message
        assert "keyfleet.infisical.sync_interval" in message
