#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent
short_description: Install or remove the sync agent of a host
version_added: 0.3.0
description:
  - Installs the command C(infisical-sync) on the host, and for each job a timer, an encrypted vault and the files for
    applications. Everything is done in one task and one round trip.
  - Usually it is run by the role P(keyfleet.infisical.scheduled_sync#role), which also checks the requirements,
    installs the libraries of the agent, and runs the first sync.
  - With systemd 250 or later, the client id, the client secret, the key of the vaults and the webhook's URL are stored
    as systemd credentials, encrypted with a key of the machine. The module decrypts them on the host to compare them,
    so a second run changes nothing.
  - A job that is no longer in O(jobs) is removed with all files that it delivered, but its vault is kept.
  - The module must run as root.
author: keyfleet.infisical contributors (@keyfleet)
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  state:
    description:
      - Whether to install or remove the agent. V(absent) also removes all delivered files. The vaults, their key and
        the agent's user are kept.
    type: str
    choices: [present, absent]
    default: present
  remove_vault:
    description: Also remove the vaults, their key and the agent's user if O(state=absent).
    type: bool
    default: false
  jobs:
    description: The scheduled syncs of the host. Required if O(state=present).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name of the job, 1 to 63 letters, digits, C(_), C(-) and C(.). It is a part of the names of its units,
            such as C(infisical-sync@NAME.timer), and of the directory of its vault.
        type: str
        required: true
      interval:
        description:
          - The interval between two syncs, such as V(15m), V(6h) or V(1d). It must divide an hour or a day evenly.
          - Each host has its own fixed offset in the interval.
        type: str
        default: 15m
      project_ids:
        description:
          - The ids of the projects to pull, or V([all]) for all projects that the identity can see. By default, the
            project of O(project_id).
        type: list
        elements: str
      environment:
        description: The slug of the environment. By default, the one of O(environment).
        type: str
      secret_path:
        description: The path of the folder. By default, the one of O(secret_path).
        type: str
      recursive:
        description: Also pull the folders below the path.
        type: bool
        default: false
      include_imports:
        description: Also pull the secrets that the folder imports.
        type: bool
        default: true
      expand_references:
        description: Let the server replace references to other secrets in values.
        type: bool
        default: false
      key_format:
        description: The format of names in the vault, with C({key}), C({path}) and C({project}).
        type: str
        default: "{key}"
      normalize_names:
        description: Convert names to upper case with underscores.
        type: bool
        default: false
      precedence:
        description:
          - Project ids and paths in descending priority. If several secrets get the same name, the first match is used.
        type: list
        elements: str
        default: []
      prune:
        description: Delete entries from the vault that are no longer in Infisical.
        type: bool
        default: false
      max_delete_percent:
        description:
          - Fail if O(jobs[].prune) would delete more than this percentage of entries. Ignored if fewer than ten entries
            are eligible.
        type: float
        default: 30.0
      state_hash:
        description:
          - The hash of values in the state file. V(sha256) can be compared with C(sha256sum), so weak values can be
            guessed. V(hmac-sha256) uses a key from the vault.
        type: str
        choices: [sha256, hmac-sha256]
        default: hmac-sha256
      files:
        description:
          - The files for applications. They are updated after each sync, and at boot.
          - Their directories and all parents must belong to root, and only root may have write access. Missing ones are
            created. C(/home), C(/root), C(/tmp) and C(/var/tmp) cannot be used.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description:
              - The path of the file, or of the directory if O(jobs[].files[].format=files). By default C(secrets.env),
                C(secrets.list) for V(env_file), C(secrets.json) or C(secrets) in C(/run/infisical-sync/JOB), which is
                in memory.
              - Files in memory may be swapped, so turn off or encrypt swap.
            type: path
          format:
            description:
              - V(dotenv) is for C(sh) and C(EnvironmentFile=) of systemd, and V(env_file) has lines without quotes for
                C(docker run --env-file). V(json) is one object of strings. V(files) is a directory with one file for
                each value.
              - V(env_file) refuses values with a newline, a NUL byte or a carriage return at the end.
            type: str
            choices: [dotenv, env_file, json, files]
            default: dotenv
          owner:
            description: The user that owns the files.
            type: str
            default: root
          group:
            description: The group of the files. By default, the group of the owner.
            type: str
          mode:
            description: The mode of the files as a quoted octal number, such as V('0440').
            type: str
            default: "0400"
          names:
            description:
              - Patterns of the names to deliver, such as V(DB_*). If empty, all secrets are delivered.
              - Set them for V(dotenv) and V(env_file), because the list of dangerous names cannot be complete.
            type: list
            elements: str
            default: []
          allow:
            description:
              - Dangerous names, such as V(PATH), that V(dotenv) and V(env_file) may contain.
            type: list
            elements: str
            default: []
          reload:
            description:
              - Units to reload once after a change. A unit that cannot reload is restarted. A unit that is not running
                is left alone.
            type: list
            elements: str
            default: []
          restart:
            description: Units to restart once after a change. A unit that is not running is left alone.
            type: list
            elements: str
            default: []
  python:
    description: The Python of the agent, 3.9 or later, with the libraries requests and cryptography.
    type: path
    default: /usr/bin/python3
  credentials:
    description:
      - How to store the agent's own secrets. V(encrypted) uses encrypted credentials of systemd 250 or later. V(file)
        uses files with mode 0600. V(auto) encrypts them if systemd supports it, and uses files otherwise.
    type: str
    choices: [auto, encrypted, file]
    default: auto
  credential_key:
    description:
      - Encrypt the credentials with a key on the host's disk, with a key in its TPM, which is not bound to a PCR, or
        with both.
    type: str
    choices: [host, tpm2, host+tpm2]
    default: host
  rotate_key:
    description:
      - Rotate the key of the vaults on this run. Pass it with C(--extra-vars); do not set it permanently.
    type: bool
    default: false
  notify_command:
    description:
      - A program with arguments that is called for each new conclusion of a failing job, for a failure that lasts, and
        for the recovery. It gets JSON on standard input, and runs as the agent's user in a sandbox.
    type: str
    default: ""
  notify_webhook_url:
    description: A URL that gets the same JSON by POST. It is a secret.
    type: str
  notify_reminder:
    description: Hours after which a lasting failure is reported again, V(0) for never.
    type: float
    default: 24.0
  metrics_directory:
    description:
      - The directory of the textfile collector of Prometheus' node exporter. It is created if it is missing. Only root
        may have write access to it and to every directory above it.
    type: path
  rate_limit_jitter:
    description: The maximum random delay in seconds that the agent adds to each wait for a rate limit.
    type: float
    default: 120.0
attributes:
  platform:
    platforms: linux
requirements:
  - systemd 249 or later on the host
  - requests >= 2.25.1 and cryptography >= 3.4.8 for O(python)
seealso:
  - ref: ansible_collections.keyfleet.infisical.docsite.guide_scheduled_sync
    description: The guide to scheduled syncs.
"""

EXAMPLES = r"""
- name: Install the agent with one job
  keyfleet.infisical.infisical_agent:
    environment: prod
    jobs:
      - name: shop
        secret_path: /shop
        prune: true
        files:
          - owner: shop
            reload: [shop.service]
  become: true

- name: Remove the agent
  keyfleet.infisical.infisical_agent:
    state: absent
  become: true
"""

RETURN = r"""
changes:
  description:
    - A line for each change that was made, or in check mode would be made.
    - After a failure, the changes before it. The last one may be incomplete.
  returned: always
  type: list
  elements: str
  sample: ["/etc/infisical-sync/jobs/shop.ini is made"]
due:
  description: The jobs for which a sync is due, because they are new or changed or their last sync failed.
  returned: success
  type: list
  elements: str
  sample: [shop]
requests:
  description: The number of listings of the syncs that are due, one for each project of each job.
  returned: when O(state=present)
  type: int
  sample: 1
version:
  description: The version of the agent.
  returned: when O(state=present)
  type: str
  sample: 0.3.0-1a2b3c4d5e6f
conclusion:
  description:
    - The cause of the failure in one word. The guide to troubleshooting lists all conclusions.
  returned: failure
  type: str
  sample: configuration
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: Always V(null), because the module does not connect to Infisical.
  returned: failure
  type: int
  sample: null
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import install
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import File, check_file
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Changes, gather_facts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import parse_interval
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.spec import Agent, Job
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.units import RUNTIME

# Ansible sends only imported files to the host. This import is for the command, which the agent installs there.
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as _command  # noqa: F401
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings, pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import HMAC, SHA256
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule

FILE_OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "path"},
    "format": {"type": "str", "choices": ["dotenv", "env_file", "json", "files"], "default": "dotenv"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str"},
    "mode": {"type": "str", "default": "0400"},
    "names": {"type": "list", "elements": "str", "default": []},
    "allow": {"type": "list", "elements": "str", "default": []},
    "reload": {"type": "list", "elements": "str", "default": []},
    "restart": {"type": "list", "elements": "str", "default": []},
}

JOB_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "interval": {"type": "str", "default": "15m"},
    "project_ids": {"type": "list", "elements": "str"},
    "environment": {"type": "str"},
    "secret_path": {"type": "str", "no_log": False},
    "recursive": {"type": "bool", "default": False},
    "include_imports": {"type": "bool", "default": True},
    "expand_references": {"type": "bool", "default": False},
    "key_format": {"type": "str", "default": "{key}", "no_log": False},
    "normalize_names": {"type": "bool", "default": False},
    "precedence": {"type": "list", "elements": "str", "default": []},
    "prune": {"type": "bool", "default": False},
    "max_delete_percent": {"type": "float", "default": 30.0},
    "state_hash": {"type": "str", "choices": [SHA256, HMAC], "default": HMAC},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
}

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "remove_vault": {"type": "bool", "default": False},
    "jobs": {"type": "list", "elements": "dict", "default": [], "options": JOB_OPTIONS},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "credentials": {"type": "str", "choices": ["auto", "encrypted", "file"], "default": "auto", "no_log": False},
    "credential_key": {
        "type": "str",
        "choices": ["host", "tpm2", "host+tpm2"],
        "default": "host",
        "no_log": False,
    },
    "rotate_key": {"type": "bool", "default": False, "no_log": False},
    "notify_command": {"type": "str", "default": ""},
    "notify_webhook_url": {"type": "str", "no_log": True},
    "notify_reminder": {"type": "float", "default": 24.0},
    "metrics_directory": {"type": "path"},
    "rate_limit_jitter": {"type": "float", "default": 120.0},
}

_DEFAULT_NAMES = {"dotenv": "secrets.env", "env_file": "secrets.list", "json": "secrets.json", "files": "secrets"}


def work(module: InfisicalModule) -> dict[str, Any]:
    """Install or remove the agent."""
    options = module.params
    if os.geteuid() != 0:
        raise ConfigurationError("become", "must be true: only root can install the agent.")
    if options["state"] == "absent":
        return describe(install.remove(remove_vault=options["remove_vault"], check=module.check_mode), module)
    settings = module.settings()
    agent = Agent(
        settings,
        tuple(make_job(given, settings) for given in options["jobs"]),
        python=options["python"],
        credentials=options["credentials"],
        credential_key=options["credential_key"],
        rotate_key=options["rotate_key"],
        notify_command=options["notify_command"],
        notify_webhook_url=options["notify_webhook_url"] or "",
        notify_reminder=options["notify_reminder"] * 3600,
        metrics_directory=options["metrics_directory"] or "",
        rate_limit_jitter=options["rate_limit_jitter"],
    )
    result = install.apply(agent, gather_facts(), check=module.check_mode)
    return {
        **describe(result, module),
        "due": result.due,
        "requests": result.requests,
        "version": result.version,
        "warnings": result.warnings,
    }


def make_job(given: dict[str, Any], settings: Settings) -> Job:
    """Return the job for an entry of the option `jobs`."""
    own = ("name", "interval", "files")
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    options["project_ids"] = options["project_ids"] or ((settings.project_id,) if settings.project_id else ())
    options["environment"] = options["environment"] or settings.environment
    options["secret_path"] = options["secret_path"] or settings.secret_path
    if not options["project_ids"]:
        raise ConfigurationError(
            "jobs", f"{given['name']}: project_ids is required.", hint="Set it, or set project_id for all jobs."
        )
    return Job(
        given["name"],
        parse_interval(given["interval"]),
        {name: value for name, value in options.items() if name not in own},
        tuple(make_file(each, given["name"]) for each in given["files"]),
    )


def make_file(given: dict[str, Any], name: str) -> File:
    """Return the file for an entry of the suboption `files` of the job `name`."""
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    options["path"] = options["path"] or f"{RUNTIME}/{name}/{_DEFAULT_NAMES[options['format']]}"
    options["group"] = options["group"] or ""
    try:
        options["mode"] = int(options["mode"], 8)
    except ValueError:
        raise ConfigurationError("jobs", f"{name}: mode must be an octal number (got '{options['mode']}').") from None
    return check_file(File(**options))


def describe(changes: Changes, module: InfisicalModule) -> dict[str, Any]:
    """Return the changes as the module's result."""
    result: dict[str, Any] = {"changed": bool(changes.lines), "changes": changes.lines, "due": [],
                              "msg": f"{pluralize(len(changes.lines), 'change')}."}  # fmt: skip
    if module._diff:
        result["diff"] = [
            {"before_header": path, "after_header": path, "before": before, "after": after}
            for path, before, after in changes.diffs
        ]
    return result


def main() -> None:
    """Run the module."""
    InfisicalModule(argument_spec=OPTIONS).run(work)


if __name__ == "__main__":
    main()
