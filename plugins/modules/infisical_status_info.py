#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_status_info
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.1.0
short_description: Check the connection and the login to Infisical
description:
  - Requests the status of the server and logs in. If O(auth_method=token), the token is checked instead.
  - If the check finds a problem, the result contains the error, but the task does not fail. Use C(failed_when) to make
    the task fail.
  - A request that fails for a temporary reason is retried once. To get a result quickly, set O(connection_wait),
    O(server_error_wait) and O(rate_limit_wait) to low values.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.info
options:
  project_id:
    description:
      - If O(auth_method=token), the id of a project that is used to check the token.
      - Otherwise not used, but accepted so that C(module_defaults) for the action group work.
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
seealso:
  - module: keyfleet.infisical.infisical_project_info
"""

EXAMPLES = r"""
- name: Fail if Infisical does not accept the login
  keyfleet.infisical.infisical_status_info:
  register: infisical
  failed_when: not infisical.login_accepted

- name: Wait until Infisical is available after maintenance
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
  description: Whether an Infisical server at RV(api_url) responded that it is available.
  returned: success
  type: bool
status_message:
  description: The status message of the server. Empty if the server could not be reached.
  returned: success
  type: str
  sample: Ok
login_accepted:
  description: Whether the server accepted the login or the token.
  returned: success
  type: bool
api_url:
  description: The URL of the server that was checked. Empty if O(url) is missing or invalid.
  returned: success
  type: str
  sample: https://infisical.example.com
conclusion:
  description: The category of the error (see the troubleshooting guide). V(null) if there was no error.
  returned: always
  type: str
  sample: credentials_rejected
problem: {description: RV(message) without the hint., returned: always, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: always, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: always, type: int}
msg:
  description: The same text as RV(message) or, if there was no error, a success message.
  returned: always
  type: str
  sample: https://infisical.example.com is available and accepted the login.
  version_added: 0.3.0
message:
  description: The error message with the hint. Empty if there was no error.
  returned: success
  type: str
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import probe
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module


def work(module: InfisicalModule) -> dict[str, Any]:
    """Check the connection and the login."""
    found = probe(module.params, log=module.warn, debug=module.debug)
    success = f"{found.api_url} is available and accepted the login."
    none = {"msg": success, "problem": "", "conclusion": None, "hint": "", "http_status": None}
    return {
        **(none if found.error is None else found.error.as_failure()),
        "changed": False,
        "reachable": found.reachable,
        "status_message": found.status_message,
        "login_accepted": found.error is None,
        "api_url": found.api_url,
        "message": str(found.error or ""),
    }


DEFINITION = Definition(work)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
