# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options that say which Infisical to talk to, and how to log in."""

from __future__ import annotations

import json

from ansible.module_utils.common.yaml import yaml_load

VENDOR_VARIABLES: dict[str, str] = {
    "client_id": "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID",
    "client_secret": "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",
}
"""Environment variables of Infisical's own tools, read where ours are not set."""

UNTYPED = frozenset(("client_secret", "token", "proxy", "passphrase"))
"""Options that may hold a credential: the error of a wrong type would quote it."""


def plugin_options(documentation: str) -> str:
    """The same options as plugins document them: each with its variable, ini key and environment variables."""
    options = yaml_load(documentation)["options"]
    for name, option in options.items():
        if name in UNTYPED:
            del option["type"]
        option["vars"] = [{"name": f"infisical_{name}"}]
        option["ini"] = [{"section": "infisical", "key": name}]
        # Ansible takes the last one that is set.
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
      - Behind a gateway that puts the server below a path, with this path, as in V(https://example.com/infisical).
        V(/api) at its end is accepted and ignored.
      - It is required, here or by one of the other ways to set it.
    type: str
  auth_method:
    description:
      - How to log in.
      - With V(universal_auth), by O(client_id) and O(client_secret) of a machine identity.
      - With V(token), by an access token that you already have.
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
      - A login that is rejected is not tried again, because some servers lock the identity for everybody after three
        failures.
    type: str
  token:
    description:
      - An access token of a machine identity. Required if O(auth_method=token).
    type: str
  ca_path:
    description:
      - A file with the certificate authorities to trust in PEM form, or a directory of such files, on the host that
        connects. Use an absolute path.
      - Without it, those that come with the Python library requests are trusted.
    type: path
  validate_certs:
    description:
      - Whether the server's certificate must verify.
      - V(false) lets anybody in between read the secrets. Set O(ca_path) instead.
    type: bool
    default: true
  proxy:
    description:
      - The URL of a proxy to connect through.
      - Proxies in the environment, such as E(https_proxy), are not used.
    type: str
  allow_http:
    description:
      - Whether O(url) may begin with V(http://) for a host that is not this machine itself.
      - Secrets then pass the network unencrypted.
    type: bool
    default: false
  timeout:
    description:
      - Seconds to wait for a connection, and for a whole answer.
    type: float
    default: 30.0
  api_version:
    description:
      - The version of the server's routes for secrets.
      - With V(auto), V(v4) is tried, and V(v3) used where the server does not have it.
    type: str
    choices: [auto, v3, v4]
    default: auto
  rate_limit_wait:
    description:
      - Seconds to wait before the one repeat of a request that the server's rate limit has stopped, where its answer
        does not say how long.
    type: float
    default: 60.0
  server_error_wait:
    description:
      - Seconds to wait before the one repeat of a request at which the server failed.
    type: float
    default: 30.0
  connection_wait:
    description:
      - Seconds to wait before the one repeat of a request whose connection was refused, cut or timed out.
    type: float
    default: 10.0
  max_wait:
    description:
      - The longest time in seconds to wait where the server's answer says how long.
    type: float
    default: 300.0
  max_response_size:
    description:
      - The largest answer in MiB that is read, counted after it is unpacked.
      - A larger answer is an error, so that neither a broken nor a hostile server can fill the memory. Ten thousand
        secrets are about 5 MiB.
    type: float
    default: 64.0
notes:
  - Each of the options that all modules of the collection share is taken from the first of these that has it. The
    task's argument (also by C(module_defaults)); the Ansible variable C(infisical_<option>), as
    in C(infisical_project_id); an environment variable of the controller, as in E(INFISICAL_PROJECT_ID); the
    key C(<option>) under C([infisical]) in C(ansible.cfg). They are looked up on the controller, never on the task's
    host. E(INFISICAL_UNIVERSAL_AUTH_CLIENT_ID) and E(INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET) are read too, after
    E(INFISICAL_CLIENT_ID) and E(INFISICAL_CLIENT_SECRET).
  - The module connects to the server from the task's host. Where the hosts have no Python library requests or no
    way to the server, use C(delegate_to) with V(localhost).
requirements:
  - requests >= 2.25.1
"""

    # With its type, because ansible-test's yamllint takes a plain assignment for a literal.
    PLUGINS: str = plugin_options(DOCUMENTATION)
