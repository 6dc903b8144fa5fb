#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent_preflight
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.4.0
short_description: Check that the sync agent can run on a host
description:
  - Checks the host's systemd, Python and machine id, and that the host can reach Infisical and log in. The task fails
    if a requirement is not met.
  - Changes nothing, with one exception. If the agent signs its own JSON web tokens (see O(host_auth_method)), the
    module creates the host's key pair if this machine has not created one, or if O(rotate_key=true). If the host has a
    key pair but cannot read it, the task fails, because the cause can be temporary.
  - Normally, the role P(keyfleet.infisical.scheduled_sync#role) runs this module before
    M(keyfleet.infisical.infisical_agent).
  - Run the module with the Python interpreter of the agent, by setting C(ansible_python_interpreter).
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.host_login
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  require_reachable:
    description:
      - Check that the host can reach Infisical, and that Infisical accepts the login.
      - If O(identity=per_host), the module only opens a connection, because the identity of the host may not exist yet.
        The controller checks that it can list the identities of the project.
      - If all hosts share an identity, but sign their own JSON web tokens, the module does not log in.
      - This check needs the libraries of the agent. If RV(missing_libraries) is not empty, it is skipped.
    type: bool
    default: true
  rotate_key:
    description:
      - With O(identity=per_host) and O(host_auth_method=jwt_auth), replace the host's key pair with a new one on this
        run. Until M(keyfleet.infisical.infisical_agent) has run, the agent cannot log in. Otherwise not used.
      - Pass this option with C(--extra-vars); do not set it permanently.
    type: bool
    default: false
  project_id:
    description:
      - If O(auth_method=token), the id of a project that is used to check the token.
      - Otherwise not used, but accepted so that C(module_defaults) for the action group work.
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
attributes:
  platform:
    platforms: linux
seealso:
  - module: keyfleet.infisical.infisical_agent
  - module: keyfleet.infisical.infisical_status_info
"""

EXAMPLES = r"""
- name: Check that the sync agent can run on the host
  keyfleet.infisical.infisical_agent_preflight:
  vars:
    ansible_python_interpreter: /usr/bin/python3
"""

RETURN = r"""
machine_id:
  description: The host's machine id.
  returned: success
  type: str
  sample: 3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c
systemd_version:
  description: The version of systemd on the host.
  returned: success
  type: int
  sample: 257
missing_libraries:
  description: Names of the libraries that the agent needs and that the Python interpreter of the task does not have.
  returned: success
  type: list
  elements: str
  sample: [cryptography]
changes:
  description: One line for each change that the module made or, in check mode, would make.
  returned: success
  type: list
  elements: str
  sample: [the host's key pair is created]
  version_added: 0.4.0
identity:
  description:
    - The machine identity that the agent of the host uses, from a file that the installation has written. All texts
      are empty if the agent is not installed, if the host is a clone and cannot use the other host's credentials, or if
      this task has created the host's key pair.
    - Data from a host is not trustworthy if the host is compromised.
  returned: success
  type: dict
  version_added: 0.4.0
  contains:
    identity_id: {description: The id of the machine identity., type: str}
    client_id: {description: The client id., type: str}
    client_secret_id: {description: The id of the client secret. Empty if it is unknown., type: str}
    expires_at:
      description:
        - The time in seconds since the epoch at which the client secret expires. V(0) if it does not expire, or if the
          time is unknown.
      type: int
    auth_method: {description: The login method., type: str}
    rejected: {description: Whether Infisical has rejected the last login of the agent., type: bool}
    public_key:
      description:
        - The public key of the host's key pair in PEM format. Empty if the agent does not sign its own JSON web tokens,
          if C(cryptography) is missing, or in check mode if the key pair does not exist yet.
      type: str
  sample:
    {identity_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d, client_id: "", client_secret_id: "", expires_at: 0,
    auth_method: jwt_auth, rejected: false, public_key: "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n"}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

import os
import sys
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host_login, own_key
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.credential_files import can_encrypt
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.held_identity import (
    read_note,
    read_usable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import (
    Host,
    HostFacts,
    change_host,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.library import inspect_python
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import NOTHING
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.jwt import public_key_of
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module


def work(module: InfisicalModule) -> dict[str, Any]:
    """Check the host, the connection and the login, and make sure that the host has its own key if it needs one."""
    facts = HostFacts.read()
    facts.check()
    _version, missing = inspect_python(sys.executable)
    if module.params["require_reachable"] and not missing:
        check_connection(module)
    changes, public_key = prepare_key(module, facts, missing)
    identity = read_usable() if os.geteuid() == 0 else read_note()
    if changes:  # in check mode, the note still exists
        identity = NOTHING
    return {
        "changed": bool(changes),
        "changes": changes,
        "machine_id": facts.machine_id,
        "systemd_version": facts.systemd,
        "missing_libraries": missing,
        "identity": identity._replace(public_key=public_key)._asdict(),
        "msg": "The sync agent can run on this host.",
    }


def prepare_key(module: InfisicalModule, facts: HostFacts, missing: list[str]) -> tuple[list[str], str]:
    """Make sure that the host has a key pair if its agent needs one. Return the changes and the public key, which is
    empty if there is no key pair."""
    options = module.params
    if not host_login.has_own_key(options):
        return [], ""
    if os.geteuid() != 0:
        raise ConfigurationError("become", "must be true, because only root can read the host's key.")
    if "cryptography" in missing:
        return [], ""
    encrypted = can_encrypt(facts.systemd, options["credentials"])
    host = Host(module.check_mode)
    with change_host(host):
        key = own_key.ensure_key(
            host,
            facts.machine_id,
            encrypted=encrypted,
            credential_key=options["credential_key"],
            # The role does not register the key for a shared identity, so a new key could not log in.
            rotates=options["rotate_key"] and options["identity"] == host_login.PER_HOST,
        )
    return host.changes.lines, public_key_of(key) if key else ""


def check_connection(module: InfisicalModule) -> None:
    """Raise InfisicalError if the host cannot reach Infisical or log in."""
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import preflight

    options = module.params
    if options.get("identity") == host_login.PER_HOST:
        preflight.check_route(options)
        return
    logs_in = not host_login.has_own_key(options)
    # The action plugin sets the method `token` if the run's token is enough to check the login.
    is_ready = options.get("auth_method") == "token"
    used = options if is_ready else host_login.select_options(options)
    found = preflight.probe(used, logs_in=logs_in, log=module.warn, debug=module.debug)
    if found.error is not None:
        raise found.error


DEFINITION = Definition(
    work,
    {
        "require_reachable": {"type": "bool", "default": True},
        "rotate_key": {"type": "bool", "default": False, "no_log": False},
        **host_login.ARGUMENTS,
    },
)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
