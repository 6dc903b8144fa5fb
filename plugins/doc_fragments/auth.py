# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for the connection and the login to Infisical."""

from __future__ import annotations

import json

from ansible.module_utils.common.yaml import yaml_load

VENDOR_VARIABLES: dict[str, str] = {
    "client_id": "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID",
    "client_secret": "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",
}
"""Environment variables of Infisical's own tools, read if ours are not set."""

UNTYPED = frozenset(("client_secret", "token", "proxy", "passphrase"))
"""Options that may contain a credential. They have no type, because the error of a wrong type would quote it."""


def plugin_options(documentation: str) -> str:
    """Return the options with the variable, ini key and environment variables of each, as plugins document them."""
    options = yaml_load(documentation)["options"]
    for name, option in options.items():
        if name in UNTYPED:
            del option["type"]
        option["vars"] = [{"name": f"infisical_{name}"}]
        option["ini"] = [{"section": "infisical", "key": name}]
        # Ansible uses the last one that is set.
        variables = (VENDOR_VARIABLES.get(name), f"INFISICAL_{name.upper()}")
        option["env"] = [{"name": variable} for variable in variables if variable]
    return json.dumps({"options": options})


class ModuleDocFragment:
    """For modules `keyfleet.infisical.auth`, for plugins `keyfleet.infisical.auth.plugins`."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - The address of the Infisical server, such as V(https://infisical.example.com).
      - If a gateway serves it below a path, include the path, as in V(https://example.com/infisical). A trailing
        V(/api) is ignored.
      - Required, as an argument or by another source of options.
    type: str
  auth_method:
    description:
      - The login method.
      - V(universal_auth) uses O(client_id) and O(client_secret) of a machine identity.
      - V(token) uses an existing access token.
    type: str
    choices: [universal_auth, token]
    default: universal_auth
  client_id:
    description:
      - The client id of the machine identity's universal auth. Required if O(auth_method=universal_auth).
    type: str
  client_secret:
    description:
      - A client secret of the machine identity's universal auth. Required if O(auth_method=universal_auth).
      - A rejected login is not repeated, because some servers lock the identity after three failures.
    type: str
  token:
    description:
      - An access token of a machine identity. Required if O(auth_method=token).
    type: str
  ca_path:
    description:
      - A PEM file with trusted certificate authorities, or a directory of such files. An absolute path on the host that
        connects to Infisical.
      - If not set, the authorities of the Python library requests are trusted.
    type: path
  validate_certs:
    description:
      - Verify the certificate of the server.
      - With V(false), anyone between host and server can read the secrets. Prefer O(ca_path).
    type: bool
    default: true
  proxy:
    description:
      - The URL of a proxy.
      - Proxies set in the environment, such as E(https_proxy), are ignored.
    type: str
  allow_http:
    description:
      - Allow an O(url) with V(http://) for other hosts than the local one.
      - Secrets are then sent unencrypted.
    type: bool
    default: false
  timeout:
    description:
      - The timeout in seconds for the connection, and for the whole answer.
    type: float
    default: 30.0
  api_version:
    description:
      - The version of the server's API for secrets.
      - V(auto) tries V(v4) first, and uses V(v3) if the server does not support it.
    type: str
    choices: [auto, v3, v4]
    default: auto
  rate_limit_wait:
    description:
      - The delay in seconds before a request is repeated after the server's rate limit was reached. Used if the answer
        contains no delay.
      - A request is repeated once.
    type: float
    default: 60.0
  server_error_wait:
    description:
      - The delay in seconds before a request is repeated after a server error. A request is repeated once.
    type: float
    default: 30.0
  connection_wait:
    description:
      - The delay in seconds before a request is repeated after its connection failed. A request is repeated once.
    type: float
    default: 10.0
  max_wait:
    description:
      - The longest delay in seconds that is accepted from the server.
    type: float
    default: 300.0
  max_response_size:
    description:
      - The maximum size of an answer in MiB, after decompression. A larger answer is an error.
      - This protects the memory from broken or hostile servers. Ten thousand secrets need about 5 MiB.
    type: float
    default: 64.0
notes:
  - The first source with a value sets a shared option. The sources are the arguments of the task (also from
    C(module_defaults)), Ansible variables such as C(infisical_project_id), environment variables such as
    E(INFISICAL_PROJECT_ID), and keys such as C(project_id) under C([infisical]) in C(ansible.cfg), in this order.
  - Options are looked up on the controller, never on the task's host. E(INFISICAL_UNIVERSAL_AUTH_CLIENT_ID) and
    E(INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET) are used if E(INFISICAL_CLIENT_ID) and E(INFISICAL_CLIENT_SECRET) are not
    set.
  - The task's host connects to the server. If the hosts lack the Python library requests or a connection to the server,
    set C(delegate_to) to V(localhost).
requirements:
  - requests >= 2.25.1
"""

    # Typed, because the yamllint of ansible-test reads an untyped assignment as a literal.
    PLUGINS: str = plugin_options(DOCUMENTATION)
