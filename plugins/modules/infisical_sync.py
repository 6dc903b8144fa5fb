#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_sync
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.2.0
short_description: Sync secrets between Infisical and a local vault
description:
  - With O(direction=pull), updates an encrypted vault on the task's host with secrets from Infisical. Readers of the
    vault see either all old or all new secrets. If nothing has changed, the pull writes nothing.
  - With O(direction=push), updates a folder in Infisical with secrets from a mapping, a file or the vault.
  - Check mode plans all changes, but changes neither the vault nor Infisical.
  - The result contains names, versions and counts, but never values.
options:
  direction:
    description:
      - The direction of the sync. V(pull) copies secrets from Infisical to the vault, and V(push) copies secrets to
        Infisical.
    type: str
    choices: [pull, push]
    default: pull
  job:
    description:
      - A name for this pull, which the vault stores with each entry that it pulls. Several jobs can therefore share a
        vault, and each job prunes only its own entries.
      - Each job needs its own O(state_file). Only used if O(direction=pull).
    type: str
    default: default
  project_ids:
    description:
      - The ids of the projects to pull from. If this option is set, O(project_id) is ignored.
      - V([all]) selects all projects that the identity can see. This is also the default if O(project_id) is not set.
        Infisical versions released in 2024 do not support this, because they cannot list a machine identity's projects.
      - Only allowed if O(direction=pull).
    type: list
    elements: str
  recursive:
    description: Include secrets in subfolders of O(secret_path). Only used if O(direction=pull).
    type: bool
    default: false
  include_imports:
    description:
      - Include secrets that the folder imports from other folders. Only used if O(direction=pull).
      - If several secrets have the same name, the folder's own secret takes precedence over imported secrets, and later
        imports take precedence over earlier ones.
    type: bool
    default: true
  expand_references:
    description:
      - Let the server replace references in values, such as V(${OTHER_SECRET}), with the values of the referenced
        secrets. O(keyfleet.infisical.infisical_secret#lookup:expand_references) describes how servers differ.
      - Only used if O(direction=pull).
    type: bool
    default: false
  key_format:
    description:
      - The format of the names in the vault, such as V({path}/{key}). The placeholders are V({key}) for the name of the
        secret, V({path}) for its folder without slashes at the start and end, and V({project}) for the slug of its
        project.
      - If two secrets with different values would get the same name, the task fails and reports both secrets.
      - Only used if O(direction=pull).
    type: str
    default: "{key}"
  normalize_names:
    description:
      - Convert names to upper case. Then replace each sequence of characters other than C([A-Z0-9_]) with one
        underscore.
      - If two names become identical, the task fails and changes nothing.
    type: bool
    default: false
  precedence:
    description:
      - Project ids and paths, with the highest priority first. If several secrets with different values would get the
        same name, the secret with the highest priority is used. A path also matches its subfolders.
      - Only used if O(direction=pull).
    type: list
    elements: str
    default: []
  prune:
    description:
      - Delete secrets that are not in the source. With O(direction=pull), delete entries of this O(job) from the vault.
        With O(direction=push), delete secrets from the folder in Infisical.
      - The task fails without deleting anything if a project could not be read, if the source is empty, or if it would
        delete more than O(max_delete_percent).
    type: bool
    default: false
  prune_scope:
    description:
      - The vault entries that O(prune) is allowed to delete. Only used if O(direction=pull).
      - V(job) allows it to delete only entries of this O(job).
      - V(vault) allows it to delete all entries that are not in Infisical. This includes entries of other jobs and
        entries that were added manually.
    type: str
    choices: [job, vault]
    default: job
  max_delete_percent:
    description:
      - Fail if O(prune) would delete more than this percentage of the entries that it is allowed to delete. Ignored if
        it is allowed to delete fewer than ten entries.
    type: float
    default: 30.0
  allow_empty:
    description:
      - Allow O(prune) to delete entries even if the source is empty. By default this is an error, because servers
        return an empty list if the environment or path is misspelled.
      - O(max_delete_percent) still applies. To delete all of ten or more entries, also set
        O(max_delete_percent=100).
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Allow a push to replace or delete secrets that Infisical rotates. This breaks the rotation.
      - By default, such a push fails with RV(conclusion=guard) and changes nothing. The message lists the secrets.
    type: bool
    default: false
    version_added: 0.3.0
  secrets:
    description:
      - A mapping of names to values to push. Values must be strings, so quote them.
      - With O(direction=push), exactly one of O(secrets), O(source_file) and O(from_vault=true) is required. V(null),
        for example from an undefined variable, means that this option is not set. An empty mapping is an empty source.
    type: raw
  source_file:
    description:
      - The path of a file on the task's host that contains the secrets to push. The file must contain either a JSON
        object whose values are strings, or lines in dotenv format such as C(NAME="value").
      - Only allowed if O(direction=push).
    type: path
  from_vault:
    description:
      - Push all entries in the vault. This includes entries of other jobs and entries that were added manually.
      - Only allowed if O(direction=push).
    type: bool
    default: false
  create_path:
    description:
      - Before a push, create the folder O(secret_path) and its parents if they do not exist. By default, a missing
        folder is an error. Only used if O(direction=push).
    type: bool
    default: false
  state_file:
    description:
      - The path of a file that stores hashes, versions and sync times of secrets. It must be an absolute path on the
        task's host.
      - A pull always writes a state file. By default, its path is C(infisical_sync_state.json) in the directory of the
        vault. With this file, a pull detects that the vault was replaced with an older copy. Each combination of vault
        and O(job) needs its own file.
      - A push writes a state file only if this option is set. Without this file, an identity that is not allowed to
        read values writes all values on each run. With the file, it writes only changed values. Each combination of
        project, environment and path needs its own file, which must not be the state file of a pull.
    type: path
  state_hash:
    description:
      - The hash algorithm for values in the state file.
      - With V(sha256), anyone who can read the state file can guess weak values. V(hmac-sha256) prevents this, because
        it uses a key from the vault.
    type: str
    choices: [sha256, hmac-sha256]
    default: sha256
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.vault
  - keyfleet.infisical.vault.write
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
notes:
  - A push with O(secrets) or O(source_file) needs a vault only if O(state_hash=hmac-sha256).
  - A push from the vault uses the names of the entries in the vault, even if the secrets had other names in Infisical.
seealso:
  - module: keyfleet.infisical.infisical_vault
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Pull the application's secrets into the host's vault
  keyfleet.infisical.infisical_sync:
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod
    secret_path: /app
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    create_key: true
    prune: true
  become: true

- name: Show what a pull would change
  keyfleet.infisical.infisical_sync:
    environment: prod
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
  check_mode: true
  diff: true
  register: planned

- name: Pull two projects into one vault
  keyfleet.infisical.infisical_sync:
    project_ids:
      - 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
      - 2b9d5f1e-6a70-4c3e-9d41-8f7a6b5c4d3e
    environment: prod
    recursive: true
    key_format: "{project}/{path}/{key}"
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_credential: infisical_vault_key
    state_hash: hmac-sha256

- name: Push settings, and delete all other secrets in the folder
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    secret_path: /app/settings
    create_path: true
    secrets: "{{ app_settings }}"
    prune: true
  delegate_to: localhost
  run_once: true

- name: Copy an old application's settings to Infisical
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    source_file: /etc/old-app/environment
    normalize_names: true

- name: Push all entries in this host's vault
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    secret_path: /hosts/web1
    create_path: true
    from_vault: true
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
  become: true
"""

RETURN = r"""
direction:
  description: The direction of the sync.
  returned: success
  type: str
  sample: pull
counts:
  description:
    - The numbers of entries that were created, updated, deleted and left unchanged or, in check mode, would be.
  returned: success
  type: dict
  sample: {created: 3, updated: 1, deleted: 0, unchanged: 96}
created:
  description: Names of the entries that were created or, in check mode, would be created.
  returned: success
  type: list
  elements: str
  sample: [API_KEY]
updated:
  description: Names of the entries that were updated or, in check mode, would be updated.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD]
deleted:
  description: Names of the entries that were deleted or, in check mode, would be deleted.
  returned: success
  type: list
  elements: str
  sample: [API_KEY_OLD]
generation:
  description:
    - The generation of the vault after a pull, which increases with each write. V(0) after a push, or if the vault does
      not exist yet.
  returned: success
  type: int
  sample: 12
projects:
  description: Ids of the projects that were synced.
  returned: success
  type: list
  elements: str
  sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
failed_projects:
  description:
    - The error of each project that could not be read, keyed by project id. The other projects were pulled, and nothing
      was pruned.
    - The task fails if this is not empty.
  returned: success, and failure after some projects were synced
  type: dict
  sample: {}
approvals:
  description:
    - Ids of approval requests that a push created. Infisical stores the secrets only after the requests are approved.
  returned: success
  type: list
  elements: str
  sample: []
key_created:
  description: Whether O(key_file) was created or, in check mode, would be created.
  returned: success, and on failure if the key was created before
  type: bool
  sample: false
diff:
  description: The versions of each changed entry before and after the sync. V(0) for entries that were added manually.
  returned: success
  type: dict
  sample:
    before: {DB_PASSWORD: 2}
    after: {API_KEY: 1, DB_PASSWORD: 3}
written:
  description: Names of the secrets that were written before the push failed. Run the task again to write the others.
  returned: failure of a push after some secrets were written
  type: list
  elements: str
  sample: [A, B]
not_written:
  description: Names of the secrets that the failed push did not write.
  returned: failure of a push after some secrets were written
  type: list
  elements: str
  sample: [C]
errors:
  description: Errors of individual secrets that could not be written, keyed by name.
  returned: failure of a push after some secrets were written
  type: dict
  sample: {}
conclusion:
  description:
    - The category of the error (see the troubleshooting guide). With V(partial), the other return values describe which
      changes were made.
  returned: failure
  type: str
  sample: guard
problem: {description: The error message without the hint., returned: failure, type: str, version_added: 0.3.0}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str, version_added: 0.3.0}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from dataclasses import fields
from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils import local_vault
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import argument_spec
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull, Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.pull import pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.push import (
    open_state,
    push,
    read_source,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import HMAC
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module

_SHARED = ("project_id", "environment", "secret_path", "state_file")
OPTIONS: dict[str, dict[str, Any]] = {
    "direction": {"type": "str", "choices": ["pull", "push"], "default": "pull"},
    "secrets": {"type": "raw", "no_log": True},
    "source_file": {"type": "path"},
    "from_vault": {"type": "bool", "default": False},
    **argument_spec("sync", without=_SHARED),
    **argument_spec("push", without=_SHARED),
}
SOURCES = ("secrets", "source_file", "from_vault")


def is_given(value: object) -> bool:
    """Return whether an option is set. An empty mapping of secrets counts as set."""
    return value is not None and value is not False


def work(module: InfisicalModule) -> dict[str, Any]:
    """Pull or push."""
    direction = module.params["direction"]
    other, not_allowed = ("pull", ("project_ids",)) if direction == "push" else ("push", SOURCES)
    for name in not_allowed:
        if is_given(module.params[name]):
            raise ConfigurationError(name, f"is only allowed with direction: {other}.")
    return push_secrets(module) if direction == "push" else pull_secrets(module)


def pull_secrets(module: InfisicalModule) -> dict[str, Any]:
    """Make the vault match the secrets in Infisical."""
    options, settings = module.params, module.settings()
    given = {
        **options,
        "project_ids": choose_projects(options["project_ids"], settings.project_id),
        "environment": settings.environment,
        "secret_path": settings.secret_path,
        "precedence": tuple(options["precedence"]),
    }
    job = Pull(**{field.name: given[field.name] for field in fields(Pull)})
    vault, state, key_created = local_vault.open_local(module, options["state_file"], create_key=True)
    with local_vault.after_key(module, key_created):
        outcome = pull(module.api(), vault, state, job, check=module.check_mode, lock_wait=options["lock_wait"])
    return {
        **outcome.as_result(),
        "changed": outcome.changed or key_created,
        "key_created": key_created,
        "msg": f"Pull: {outcome.summary()}.",
    }


def choose_projects(project_ids: list[str] | None, project_id: str) -> tuple[str, ...]:
    """Return the projects to pull from. An empty result means all projects that the identity has access to."""
    if project_ids is None:
        return (project_id,) if project_id else ()
    if not project_ids:
        raise ConfigurationError(
            "project_ids", "must not be an empty list.", hint="Set it to project ids, or to [all] for every project."
        )
    return tuple(project_ids)


def push_secrets(module: InfisicalModule) -> dict[str, Any]:
    """Make a folder in Infisical match the source."""
    options, scope = module.params, module.scope()
    given = [name for name in SOURCES if is_given(options[name])]
    if len(given) != 1:
        raise ConfigurationError(
            "secrets",
            "a push must have exactly one source: secrets, source_file or from_vault: true (got "
            f"{' and '.join(given) or 'none'}; null counts as not set).",
        )
    vault, vault_state = None, None
    if options["from_vault"] or options["state_hash"] == HMAC:
        # A push uses its own state file instead of the vault's.
        vault, vault_state, _key_created = local_vault.open_local(module, None)
    if options["source_file"] is not None:
        source = read_source(options["source_file"])
    elif options["secrets"] is not None:
        source = options["secrets"]
        if not isinstance(source, dict):
            raise ConfigurationError("secrets", f"must be a mapping of names to strings, not {type(source).__name__}.")
    else:
        source = vault.read().values() if vault else {}
    outcome = push(
        module.api(),
        scope,
        source,
        Push(**{field.name: options[field.name] for field in fields(Push)}),
        state=open_state(
            options["state_file"] or "", scope, state_hash=options["state_hash"], vault=vault, warn=module.warn
        ),
        vault_state=vault_state if options["from_vault"] else None,
        check=module.check_mode,
    )
    return {**outcome.as_result(), "key_created": False, "msg": f"Push: {outcome.summary()}."}


DEFINITION = Definition(work, {**OPTIONS, **local_vault.VAULT_OPTIONS, **local_vault.WRITE_OPTIONS})


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
