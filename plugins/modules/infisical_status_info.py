#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_status_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Tell whether Infisical answers and accepts the login
description:
  - Asks the server for its status, then logs in. With O(auth_method=token) the token is tried instead.
  - It reports and does not fail, whatever it finds. Use C(failed_when) to fail.
  - An attempt that is worth repeating is repeated once, after the wait that the options say. Set O(connection_wait),
    O(server_error_wait) and O(rate_limit_wait) low for a quick answer.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  project_id:
    description:
      - Only used to try a token with. It is accepted so that C(module_defaults) of the action group work.
  environment:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
  secret_path:
    description:
      - Not used. It is accepted so that C(module_defaults) of the action group work.
seealso:
  - module: keyfleet.infisical.infisical_project_info
"""

EXAMPLES = r"""
- name: Infisical answers, and the login is accepted
  keyfleet.infisical.infisical_status_info:
  register: infisical
  failed_when: not infisical.login_accepted

- name: Infisical is up again after maintenance
  keyfleet.infisical.infisical_status_info:
    connection_wait: 0
    server_error_wait: 0
  register: infisical
  until: infisical.reachable
  retries: 30
  delay: 10
"""

RETURN = r"""
reachable:
  description: Whether an Infisical has answered at RV(api_url) and said that it is up.
  returned: success
  type: bool
  sample: true
status_message:
  description: What the server says of itself, empty where it was not reached.
  returned: success
  type: str
  sample: Ok
login_accepted:
  description: Whether the server has accepted the login, or the token.
  returned: success
  type: bool
  sample: true
api_url:
  description: The address that was tried, empty where O(url) is missing or wrong.
  returned: success
  type: str
  sample: https://infisical.example.com
conclusion:
  description: What is wrong, in one word. V(null) where all is well. The guide to errors lists all of them.
  returned: always
  type: str
  sample: credentials_rejected
http_status:
  description: The status of the answer that RV(conclusion) is drawn from, V(null) where there was none.
  returned: always
  type: int
  sample: 401
msg:
  description: The same as RV(message), or a sentence that all is well. It is what a task with C(failed_when) prints.
  returned: always
  type: str
  sample: https://infisical.example.com is up and has accepted the login.
  version_added: 0.3.0
message:
  description: What was tried, what came back and what to do. Empty where all is well.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import probe
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule


def work(module: InfisicalModule) -> dict[str, Any]:
    """Report how far one gets."""
    found = probe(module.params, log=module.warn)
    return {
        "changed": False,
        "reachable": found.reachable,
        "status_message": found.status_message,
        "login_accepted": found.login_accepted,
        "api_url": found.api_url,
        "conclusion": None if found.conclusion is None else found.conclusion,
        "http_status": found.http_status,
        "message": found.problem,
        "msg": found.problem or f"{found.api_url} is up and has accepted the login.",
    }


def main() -> None:
    """Run the module."""
    InfisicalModule(argument_spec={}).run(work)


if __name__ == "__main__":
    main()
