#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_agent
short_description: The agent that syncs secrets by itself is on a host, or is not
version_added: 0.3.0
description:
  - Installs the command C(infisical-sync) on the host, and for each job a timer, an encrypted vault, and the files that
    applications get from it. All of it is one task and one round trip.
  - Most people use it through the role P(keyfleet.infisical.scheduled_sync#role), which looks first whether it will
    work, installs the libraries that the agent needs, and has the first sync done.
  - Client id, client secret, the key of the vaults and the webhook's URL become systemd credentials, encrypted with a
    key of the machine, where systemd can (since version 250). They are compared by decrypting them on the host, so that
    a second run changes nothing.
  - A job that is not in O(jobs) any more is removed with all that it delivered, but for its vault.
  - The module has to run as root.
author: keyfleet.infisical contributors (@keyfleet)
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
options:
  state:
    description:
      - With V(absent), the agent is removed with all that it delivered. Its vaults stay, with their key and the agent's
        user.
    type: str
    choices: [present, absent]
    default: present
  remove_vault:
    description: Whether O(state=absent) removes the vaults, their key and the agent's user too.
    type: bool
    default: false
  jobs:
    description: The syncs that the host runs. Required with O(state=present).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The job's name, of letters, digits, C(_), C(-) and C(.), at most 63. Its units are called so, such as
            C(infisical-sync@NAME.timer), and the directory of its vault.
        type: str
        required: true
      interval:
        description:
          - How often it runs, such as V(15m), V(6h) or V(1d). It must divide an hour or a day.
          - Each host has a place of its own in the interval, which stays the same.
        type: str
        default: 15m
      project_ids:
        description:
          - The ids of the projects whose secrets it pulls, by default the one of O(project_id). V([all]) stands for all
            projects that the identity can see.
        type: list
        elements: str
      environment:
        description: The slug of the environment, by default that of O(environment).
        type: str
      secret_path:
        description: The path of the folder, by default that of O(secret_path).
        type: str
      recursive:
        description: Whether to pull the folders below the path too.
        type: bool
        default: false
      include_imports:
        description: Whether to pull what the folder imports too.
        type: bool
        default: true
      expand_references:
        description: Whether the server replaces references to other secrets in values.
        type: bool
        default: false
      key_format:
        description: The names in the vault, made of C({key}), C({path}) and C({project}).
        type: str
        default: "{key}"
      normalize_names:
        description: Whether to make the names upper case with underscores.
        type: bool
        default: false
      precedence:
        description: Project ids and paths, the first one first, whose secret wins where several get one name.
        type: list
        elements: str
        default: []
      prune:
        description: Whether to delete from the vault what Infisical no longer holds.
        type: bool
        default: false
      max_delete_percent:
        description: The share in percent of ten entries or more beyond which O(jobs[].prune) refuses to delete.
        type: float
        default: 30.0
      state_hash:
        description:
          - How the values are hashed in the state file. The hashes of V(sha256) can be checked with C(sha256sum), and
            so weak values guessed; those of V(hmac-sha256) are keyed from the vault.
        type: str
        choices: [sha256, hmac-sha256]
        default: hmac-sha256
      files:
        description:
          - What applications get, as files that are written after each sync where they differ, and at each boot.
          - The directories that they lie in must belong to root, with all above them, and be writable for root alone.
            Missing ones are made. C(/home), C(/root), C(/tmp) and C(/var/tmp) cannot be used.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description:
              - The file, or with O(jobs[].files[].format=files) the directory. By default C(secrets.env),
                C(secrets.list) for V(env_file), C(secrets.json) or C(secrets) in C(/run/infisical-sync/JOB), which is
                in memory.
              - What lies in memory may be swapped, so swap must be off or encrypted.
            type: path
          format:
            description:
              - V(dotenv) are lines for C(sh) and C(EnvironmentFile=) of systemd, V(env_file) lines without quotes for
                C(docker run --env-file), V(json) is one object of strings, and V(files) a directory with one value a
                file.
              - V(env_file) refuses values with a newline, a NUL byte or a carriage return at the end.
            type: str
            choices: [dotenv, env_file, json, files]
            default: dotenv
          owner:
            description: The user to whom the files belong.
            type: str
            default: root
          group:
            description: The group, by default the owner's.
            type: str
          mode:
            description: The mode of the files, in octal and in quotes, such as V('0440').
            type: str
            default: "0400"
          names:
            description:
              - Which secrets, as patterns such as V(DB_*). All of them if it is empty.
              - Name them for V(dotenv) and V(env_file), because the list of names that are refused as dangerous cannot
                be complete.
            type: list
            elements: str
            default: []
          allow:
            description:
              - Names that V(dotenv) and V(env_file) may hold although they are dangerous in an environment, such as
                V(PATH).
            type: list
            elements: str
            default: []
          reload:
            description:
              - Units that are reloaded once after a change, or restarted where they cannot reload. Those that do not
                run are left alone.
            type: list
            elements: str
            default: []
          restart:
            description:
              - Units that are restarted once after a change. Those that do not run are left alone.
            type: list
            elements: str
            default: []
  python:
    description: The Python that runs the agent, 3.9 or later, with the libraries requests and cryptography.
    type: path
    default: /usr/bin/python3
  credentials:
    description:
      - How the agent's own secrets are kept. With V(encrypted), as encrypted credentials of systemd, which takes
        systemd 250 or later. With V(file), as files of mode 0600. With V(auto), encrypted where systemd can, else as
        files.
    type: str
    choices: [auto, encrypted, file]
    default: auto
  credential_key:
    description:
      - What encrypts the credentials. V(host) is a key on the host's disk, V(tpm2) one in its TPM, bound to no PCR, and
        V(host+tpm2) both.
    type: str
    choices: [host, tpm2, host+tpm2]
    default: host
  rotate_key:
    description:
      - Whether to seal all vaults of the host with a new key, made there, and with a new data key. Each run does it
        anew, so it is for the command line, not for the inventory.
    type: bool
    default: false
  notify_command:
    description:
      - A program with arguments that is run for each new conclusion of a failing job, for a failure that lasts, and
        for the recovery. It gets JSON on standard input, and runs as the agent's user in a sandbox.
    type: str
    default: ""
  notify_webhook_url:
    description: A URL that gets the same JSON by POST. It is a secret.
    type: str
  notify_reminder:
    description: Hours after which a failure that goes on is told again, V(0) for never.
    type: float
    default: 24.0
  metrics_directory:
    description:
      - The directory of the textfile collector of Prometheus' node exporter, made if it is missing. Each job leaves a
        file there. It and all directories above it must belong to root and be writable for root alone.
    type: path
  rate_limit_jitter:
    description: Seconds, chosen at random up to this number, that the agent waits on top of what a rate limit asks for.
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
- name: Host syncs the secrets of its application
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

- name: Host has no agent any more
  keyfleet.infisical.infisical_agent:
    state: absent
  become: true
"""

RETURN = r"""
changes:
  description:
    - What was changed, or in check mode would be, a line each.
    - After a failure, the changes that were made before it. The last one may be incomplete.
  returned: always
  type: list
  elements: str
  sample: ["/etc/infisical-sync/jobs/shop.ini is made"]
due:
  description: The jobs that have something new, or whose last sync did not go well, so that one is due now.
  returned: success
  type: list
  elements: str
  sample: [shop]
requests:
  description: How many listings the syncs that are due take, one for each project of each job.
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
    - What went wrong, in one word. The guide to errors lists all of them.
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
  description: Always V(null), because Infisical is not asked.
  returned: failure
  type: int
  sample: null
"""

import os
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import install
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.deliver import File, checked
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.host import Changes, gather_facts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.schedule import interval_minutes
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.spec import Agent, Job
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.units import RUNTIME

# The agent installs the command: Ansible sends to the host what is imported here.
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
    """Return the job of an entry of the option `jobs`."""
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
        interval_minutes(given["interval"]),
        {name: value for name, value in options.items() if name not in own},
        tuple(make_file(each, given["name"]) for each in given["files"]),
    )


def make_file(given: dict[str, Any], name: str) -> File:
    """Return the file of an entry of the suboption `files` of the job `name`."""
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    options["path"] = options["path"] or f"{RUNTIME}/{name}/{_DEFAULT_NAMES[options['format']]}"
    options["group"] = options["group"] or ""
    try:
        options["mode"] = int(options["mode"], 8)
    except ValueError:
        raise ConfigurationError("jobs", f"{name}: mode must be an octal number (got '{options['mode']}').") from None
    return checked(File(**options))


def describe(changes: Changes, module: InfisicalModule) -> dict[str, Any]:
    """Return the changes as a module's result."""
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
