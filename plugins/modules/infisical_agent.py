#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent
short_description: Install or remove the sync agent on a host
version_added: 0.3.0
description:
  - Installs the command C(infisical-sync) on the host. For each job, it also sets up a timer, an encrypted vault and
    the files that the job delivers to applications. One task does everything, with a single round trip to the host.
  - Normally, the role P(keyfleet.infisical.scheduled_sync#role) runs this module. The role also checks the
    requirements, and installs the Python libraries that the agent needs.
  - With systemd 250 or later, the client id, the client secret, the vault key and the webhook URL are stored as systemd
    credentials, which are encrypted with a key of the machine. The module decrypts them on the host to compare them, so
    a second run changes nothing.
  - If a job is no longer in O(jobs), the job and all files that it delivered are removed. Its vault is kept.
  - The module must run as root.
author: keyfleet.infisical contributors (@keyfleet)
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.host_login
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  state:
    description:
      - Whether to install or remove the agent. V(absent) also removes all delivered files, but keeps the vaults, their
        key and the agent's user.
    type: str
    choices: [present, absent]
    default: present
  remove_vault:
    description: With O(state=absent), remove the vaults, their key and the agent's user too.
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
          - The name of the job, with 1 to 63 letters, digits, C(_), C(-) and C(.).
          - The job's vault directory and its systemd units, such as C(infisical-sync@NAME.timer), are named after the
            job.
        type: str
        required: true
      interval:
        description:
          - The interval between two syncs, such as V(15m), V(6h) or V(1d). It must divide evenly into an hour or a day.
          - Each host starts its syncs at its own fixed offset within the interval, so that the hosts do not all sync at
            the same time.
        type: str
        default: 15m
      project_ids:
        description:
          - The ids of the projects to pull, or V([all]) for all projects that the identity can see. The default is the
            value of O(project_id).
        type: list
        elements: str
      environment:
        description: The slug of the environment. The default is the value of O(environment).
        type: str
      secret_path:
        description: The path of the folder in Infisical. The default is the value of O(secret_path).
        type: str
      recursive:
        description: Include the secrets in subfolders of the folder.
        type: bool
        default: false
      include_imports:
        description: Include the secrets that the folder imports from other folders.
        type: bool
        default: true
      expand_references:
        description: Let the server replace references to other secrets in values.
        type: bool
        default: false
      key_format:
        description: See O(keyfleet.infisical.infisical_sync#module:key_format).
        type: str
        default: "{key}"
      normalize_names:
        description: Convert names to upper case with underscores.
        type: bool
        default: false
      precedence:
        description: See O(keyfleet.infisical.infisical_sync#module:precedence).
        type: list
        elements: str
        default: []
      prune:
        description: Delete entries from the vault if their secrets are no longer in Infisical.
        type: bool
        default: false
      max_delete_percent:
        description: See O(keyfleet.infisical.infisical_sync#module:max_delete_percent).
        type: float
        default: 30.0
      state_hash:
        description: See O(keyfleet.infisical.infisical_sync#module:state_hash).
        type: str
        choices: [sha256, hmac-sha256]
        default: hmac-sha256
      files:
        description:
          - The files that the job delivers to applications. They are updated after each sync and when the host boots.
          - The directory of each file and all directories above it must belong to root, and only root may have write
            access to them. Missing directories are created.
          - Paths in C(/home), C(/root), C(/tmp) and C(/var/tmp) are refused.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description:
              - The path of the file. With O(jobs[].files[].format=files), the path of the directory.
              - By default, the file is in the directory C(/run/infisical-sync/JOB), which is in memory. Its default
                name is C(secrets.env) for V(dotenv), C(secrets.list) for V(env_file), C(secrets.json) for V(json) and
                C(secrets) for V(files).
              - The host may swap memory to disk, so encrypt swap or turn it off.
            type: path
          format:
            description:
              - The format of the file.
              - V(dotenv) writes lines that C(sh) and the systemd setting C(EnvironmentFile=) can read.
              - V(env_file) writes lines without quotes for C(docker run --env-file). It refuses values that contain a
                newline or a NUL byte, or that end with a carriage return.
              - V(json) writes one JSON object, whose values are strings.
              - V(files) creates a directory with one file for each secret.
            type: str
            choices: [dotenv, env_file, json, files]
            default: dotenv
          owner:
            description: The user that owns the files.
            type: str
            default: root
          group:
            description: The group that owns the files. The default is the primary group of the owner.
            type: str
          mode:
            description: The mode of the files as a quoted octal number, such as V('0440').
            type: str
            default: "0400"
          names:
            description:
              - Patterns that select the secrets to deliver by name, such as V(DB_*). If empty, all secrets are
                delivered.
              - Set this option for the formats V(dotenv) and V(env_file). Some environment variables can make programs
                run code, and the built-in list of such unsafe names cannot be complete.
            type: list
            elements: str
            default: []
          allow:
            description:
              - Unsafe names, such as V(PATH), to allow in V(dotenv) and V(env_file) files. By default, a file that
                would contain an unsafe name is not written.
            type: list
            elements: str
            default: []
          reload:
            description:
              - Systemd units to reload once after a change. A unit that does not support reloading is restarted. A unit
                that is not running is left alone.
            type: list
            elements: str
            default: []
          restart:
            description: Systemd units to restart once after a change. A unit that is not running is left alone.
            type: list
            elements: str
            default: []
  python:
    description:
      - The path of the Python interpreter that runs the agent. It must be Python 3.9 or later, with the libraries
        requests and cryptography.
    type: path
    default: /usr/bin/python3
  rotate_key:
    description:
      - Replace the vault key with a new one on this run. Pass this option with C(--extra-vars); do not set it
        permanently.
    type: bool
    default: false
  notify_command:
    description:
      - A command with arguments that sends notifications. It runs when a job starts to fail, when the category of the
        failure changes, and when the job recovers. While a failure lasts, it runs again after O(notify_reminder) hours.
      - The command receives a JSON document on standard input, and runs as the agent's user in a sandbox.
    type: str
    default: ""
  notify_webhook_url:
    description: A URL to which the same JSON document is sent with HTTP POST. The URL is treated as a secret.
    type: str
  notify_reminder:
    description: The number of hours after which a lasting failure is reported again. V(0) turns reminders off.
    type: float
    default: 24.0
  metrics_directory:
    description:
      - The directory that the textfile collector of the Prometheus node exporter reads. It is created if it does not
        exist. Only root may have write access to the directory and to all directories above it.
    type: path
  rate_limit_jitter:
    description: The maximum random delay in seconds that the agent adds each time it waits because of a rate limit.
    type: float
    default: 120.0
  sync:
    description:
      - Sync the jobs in RV(due) after the installation, one after another. The module waits until each sync has ended
        and its files are delivered. If a sync fails, the task fails, but the agent stays installed.
    type: bool
    default: false
    version_added: 0.4.0
  rate_limit:
    description:
      - The number of requests per minute that Infisical allows from one IP address. With O(sync=true), the hosts start
        their syncs one after another, so that together they use only half of this limit.
      - With V(0), no host waits.
    type: int
    default: 0
    version_added: 0.4.0
  client_secret_ttl:
    description: With O(identity=per_host), the number of days for which a new client secret is valid.
    type: int
    default: 90
    version_added: 0.4.0
  held_identity:
    description:
      - With O(identity=per_host), the identity that the host has, from
        RV(keyfleet.infisical.infisical_agent_preflight#module:identity).
    type: dict
    version_added: 0.4.0
  identity_inventory:
    description:
      - With O(identity=per_host), a label of the inventory, which is stored with each identity. The names of the hosts
        must be unique among all inventories with this label.
      - An identity without a label is not given to a host with another machine id, because two inventories could have
        a host of the same name. With O(state=absent), it is then kept, with a warning.
    type: str
    version_added: 0.4.0
attributes:
  action:
    details: If O(rate_limit) is set, the action plugin makes the hosts start their syncs one after another.
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
    - One line for each change that the module made or, in check mode, would make.
    - If the task fails, the changes that were made before the failure. The last change may be incomplete.
  returned: always
  type: list
  elements: str
  sample: ["/etc/infisical-sync/jobs/shop.ini is created"]
due:
  description:
    - Names of the jobs that need a sync now, because they are new, they were changed, or their last sync failed.
  returned: success
  type: list
  elements: str
  sample: [shop]
requests:
  description:
    - The number of requests that the jobs in RV(due) need to list secrets. Each job needs one request for each of its
      projects.
  returned: when O(state=present)
  type: int
  sample: 1
reports:
  description:
    - The report of each sync, keyed by job name. The content of a report is described in
      RV(keyfleet.infisical.infisical_agent_info#module:jobs[].last_cycle).
  returned: if a sync was started
  type: dict
  sample:
    shop: {conclusion: ok, counts: {created: 12, updated: 0, deleted: 0, unchanged: 0}, generation: 1}
  version_added: 0.4.0
machine_id:
  description: The host's machine id. Empty if it is unknown.
  returned: when O(state=absent)
  type: str
  sample: 3f1b0c9a8d7e4f6a9b8c7d6e5f4a3b2c
  version_added: 0.4.0
project_id:
  description: The project of the host's identity.
  returned: when O(identity=per_host) and O(state=present)
  type: str
  sample: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
  version_added: 0.4.0
version:
  description: The version of the agent.
  returned: when O(state=present)
  type: str
  sample: 0.3.0-1a2b3c4d5e6f
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: Always V(null)., returned: failure, type: int}
"""

import os
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import (
    deliver,
    host_login,
    install,
    jobs,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Changes, HostFacts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.spec import Agent, make_job
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import pluralize
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import argument_spec
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import HMAC, SHA256
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module

if TYPE_CHECKING:
    # Ansible also sends files that are imported only here. The agent's command needs the whole library.
    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.cli import main as _command  # noqa: F401

FILE_OPTIONS: dict[str, dict[str, Any]] = {
    **argument_spec("file"),
    "format": {"type": "str", "choices": list(deliver.FORMATS), "default": "dotenv"},
    "mode": {"type": "str", "default": "0400"},
}

JOB_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "interval": {"type": "str", "default": "15m"},
    **argument_spec("sync", without=("job", "prune_scope", "allow_empty")),
    "state_hash": {"type": "str", "choices": [SHA256, HMAC], "default": HMAC},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE_OPTIONS},
}

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "remove_vault": {"type": "bool", "default": False},
    "jobs": {"type": "list", "elements": "dict", "default": [], "options": JOB_OPTIONS},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "rotate_key": {"type": "bool", "default": False, "no_log": False},
    "notify_command": {"type": "str", "default": ""},
    "notify_webhook_url": {"type": "str", "no_log": True},
    "notify_reminder": {"type": "float", "default": 24.0},
    "metrics_directory": {"type": "path"},
    "rate_limit_jitter": {"type": "float", "default": 120.0},
    "sync": {"type": "bool", "default": False},
    "rate_limit": {"type": "int", "default": 0},
    **host_login.ARGUMENTS,
    "client_secret_ttl": {"type": "int", "default": 90, "no_log": False},
    "held_identity": {"type": "dict"},
    "identity_inventory": {"type": "str"},
}


def work(module: InfisicalModule) -> dict[str, Any]:
    """Install or remove the agent."""
    options = module.params
    if os.geteuid() != 0:
        raise ConfigurationError("become", "must be true, because only root can install the agent.")
    if options["state"] == "absent":
        machine_id = systemd.machine_id()
        removed = install.remove(remove_vault=options["remove_vault"], check=module.check_mode)
        return {**describe(removed, module), "machine_id": machine_id}
    identity = (module.known or {}).get("host_identity", {}) if options["identity"] == host_login.PER_HOST else {}
    settings = host_login.make_settings(options, identity)
    granted_at = time.monotonic() + identity.get("grant_wait", 0.0)
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
        identity=host_login.describe_identity(settings, identity),
    )
    installed = install.apply(agent, HostFacts.read(), check=module.check_mode)
    result = {
        **describe(installed, module),
        "due": installed.due,
        "requests": installed.requests,
        "version": installed.version,
        "warnings": installed.warnings,
    }
    if not (options["sync"] and installed.due):
        return result
    return sync_due(result, module, jobs.Grants(granted_at, is_change=identity.get("changed_grants", False)))


def sync_due(installed: dict[str, Any], module: InfisicalModule, grants: jobs.Grants | None = None) -> dict[str, Any]:
    """Sync the jobs that need it, and add their reports to the result of the installation. In check mode, only report
    a change."""
    due, grants = installed["due"], grants or jobs.Grants()
    if module.check_mode:
        return {**installed, "changed": True, "msg": f"{installed['msg']} {pluralize(len(due), 'job')} would sync."}
    time.sleep((module.known or {}).get("sync_delay", 0.0))
    try:
        synced = jobs.sync_all(due, grants)
    except InfisicalError as error:
        changed = installed["changed"] or error.details.get("changed", False)
        error.details = {"reports": {}, **installed, **error.details, "changed": changed}
        raise
    msg = f"{installed['msg']} {pluralize(len(due), 'job')} synced{grants.describe()}."
    return {**installed, **synced, "changed": installed["changed"] or synced["changed"], "msg": msg}


def describe(changes: Changes, module: InfisicalModule) -> dict[str, Any]:
    """Return the changes as the module's result."""
    result: dict[str, Any] = {"changed": bool(changes.lines), "changes": changes.lines, "due": [],
                              "msg": f"{pluralize(len(changes.lines), 'change')}."}  # fmt: skip
    if module.diff_mode:
        result["diff"] = [
            {"before_header": path, "after_header": path, "before": before, "after": after}
            for path, before, after in changes.diffs
        ]
    return result


DEFINITION = Definition(work, OPTIONS)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
