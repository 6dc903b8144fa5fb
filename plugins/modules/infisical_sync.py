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
  - With O(direction=pull), updates an encrypted vault on the task's host from Infisical. Readers of the vault see
    either all old or all new secrets. A pull without changes writes nothing.
  - With O(direction=push), updates a folder of Infisical from a mapping, a file or the vault.
  - Check mode makes the complete plan, and changes neither the vault nor Infisical.
  - The result contains names, versions and counts, never values.
options:
  direction:
    description:
      - The direction of the sync.
    type: str
    choices: [pull, push]
    default: pull
  job:
    description:
      - The name of this pull. The vault keeps it with each entry, so that several jobs can share a vault and each
        prunes its own entries only.
      - Each job needs its own O(state_file). Only with O(direction=pull).
    type: str
    default: default
  project_ids:
    description:
      - The projects to pull from. If this is set, O(project_id) is ignored.
      - V([all]) means every project that the identity can see. If neither this nor O(project_id) is set, the meaning is
        the same. Servers of 2024 do not list projects to machine identities.
      - Only with O(direction=pull).
    type: list
    elements: str
  recursive:
    description:
      - Pull the folders below O(secret_path) too. Only with O(direction=pull).
    type: bool
    default: false
  include_imports:
    description:
      - Pull the secrets that the folder imports from other folders too.
      - The folder's own secret wins over an imported secret of the same name, and the last import wins over earlier
        imports. Only with O(direction=pull).
    type: bool
    default: true
  expand_references:
    description:
      - Let the server replace references in values, such as V(${OTHER_SECRET}), with the referenced values. Only with
        O(direction=pull).
      - If the referenced secret does not exist, most servers insert an empty text. Servers of late 2026 keep the
        reference, and the module warns.
      - If the server returns a referenced text of several lines in quotes, because of its multi-line encoding in
        Infisical, the module restores the text and warns.
    type: bool
    default: false
  key_format:
    description:
      - The format of names in the vault, made of V({key}), V({path}) and V({project}), such as V({path}/{key}).
        V({path}) has no outer slashes, and V({project}) is the slug of the project.
      - The task fails if two secrets with different values would get the same name, and names both. Only with
        O(direction=pull).
    type: str
    default: "{key}"
  normalize_names:
    description:
      - Convert names to upper case, and replace every run of characters outside of C([A-Z0-9_]) with one underscore.
        The task fails and changes nothing if two names become the same.
    type: bool
    default: false
  precedence:
    description:
      - Project ids and paths, most important first. They decide which secret is used if several secrets with different
        values would get the same name. A path includes the folders below it. Only with O(direction=pull).
    type: list
    elements: str
    default: []
  prune:
    description:
      - Delete what the source does not hold. With O(direction=pull), this deletes entries of this O(job) from the
        vault. With O(direction=push), it deletes secrets from the folder in Infisical.
      - The task fails and deletes nothing if a project could not be read, if the source is empty, or if
        O(max_delete_percent) would be exceeded.
    type: bool
    default: false
  prune_scope:
    description:
      - The entries that O(prune) may delete from the vault. Only with O(direction=pull).
      - V(job) means the entries of this O(job).
      - V(vault) means all entries that Infisical does not hold, including entries of other jobs and entries made by
        hand.
    type: str
    choices: [job, vault]
    default: job
  max_delete_percent:
    description:
      - Fail if O(prune) would delete more than this percentage of the entries that it may delete. Ignored if it may
        delete fewer than ten entries.
    type: float
    default: 30.0
  allow_empty:
    description:
      - Allow O(prune) to delete entries if the source is empty. Real servers return an empty list for a mistyped
        environment or path. O(max_delete_percent) still applies, so deleting all of ten or more entries needs both
        options.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Allow a push to replace or delete secrets whose values Infisical rotates. This breaks the rotation.
      - Otherwise, the task fails with RV(conclusion=guard), names the secrets and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  secrets:
    description:
      - The source of a push, as a mapping of names to values. Values must be strings, so quote them.
      - With O(direction=push), exactly one of O(secrets), O(source_file) and O(from_vault=true) is required. V(null),
        for example from an undefined variable, counts as not given. An empty mapping is an empty source.
    type: raw
  source_file:
    description:
      - The source of a push, as a file on the task's host. It contains a JSON object of strings, or lines
        C(NAME="value") in dotenv format.
      - Only with O(direction=push).
    type: path
  from_vault:
    description:
      - Use the vault as the source of a push, with all of its entries, including entries of other jobs and entries
        made by hand. Only with O(direction=push).
    type: bool
    default: false
  create_path:
    description:
      - Create the folder O(secret_path) and its parents before a push if they do not exist. Otherwise, the task fails
        if the folder does not exist. Only with O(direction=push).
    type: bool
    default: false
  state_file:
    description:
      - The absolute path of a file on the task's host for hashes, versions and times of synced secrets.
      - A pull always keeps one, by default C(infisical_sync_state.json) in the folder of the vault. With it, a pull
        notices if an older vault was restored. A file belongs to one vault and one O(job).
      - A push keeps one only if this option is set. With it, an identity that may not read values writes only the
        changed ones, instead of all values on every run. A file belongs to one project, environment and path. It must
        not be the state file of a pull.
    type: path
  state_hash:
    description:
      - The hash of values in the state file.
      - With V(sha256), anyone who can read the file can guess weak values. V(hmac-sha256) prevents this with a key from
        the vault.
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
  - The options of the vault can be set as variables like the shared options, for example C(infisical_vault_path) and
    C(infisical_key_file) in the inventory. Their paths are on the task's host.
  - A push with O(secrets) or O(source_file) needs no vault, unless O(state_hash=hmac-sha256).
  - A push from the vault uses the names that the entries have in the vault.
seealso:
  - module: keyfleet.infisical.infisical_vault
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Pull the secrets of the application into the host's vault
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

- name: Push these settings and delete all others
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    secret_path: /app/settings
    create_path: true
    secrets: "{{ app_settings }}"
    prune: true
  delegate_to: localhost
  run_once: true

- name: Move the settings of an old application to Infisical
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    source_file: /etc/old-app/environment
    normalize_names: true

- name: Push all entries of this host's vault
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
  description: The number of created, updated, deleted and unchanged entries. Check mode returns the plan.
  returned: success
  type: dict
  sample: {created: 3, updated: 1, deleted: 0, unchanged: 96}
created:
  description: The names of created entries. Check mode returns the plan.
  returned: success
  type: list
  elements: str
  sample: [API_KEY]
updated:
  description: The names of updated entries. Check mode returns the plan.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD]
deleted:
  description: The names of deleted entries. Check mode returns the plan.
  returned: success
  type: list
  elements: str
  sample: [API_KEY_OLD]
generation:
  description: The generation of the vault after a pull. V(0) after a push, or if the vault does not exist yet.
  returned: success
  type: int
  sample: 12
projects:
  description: The ids of the projects of this sync.
  returned: success
  type: list
  elements: str
  sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
failed_projects:
  description:
    - The error of each project that could not be read, by project id. The other projects were pulled, and nothing was
      pruned.
    - The task fails if this is not empty.
  returned: success, and failure after a part was synced
  type: dict
  sample: {}
approvals:
  description: The ids of pending approval requests after a push. Their secrets are not stored yet.
  returned: success
  type: list
  elements: str
  sample: []
key_created:
  description: Whether O(key_file) was created; in check mode, whether it would be.
  returned: success, and if it was created before a failure
  type: bool
  sample: false
diff:
  description: The version of each changed entry before and after. Entries made by hand have version V(0).
  returned: success
  type: dict
  sample:
    before: {DB_PASSWORD: 2}
    after: {API_KEY: 1, DB_PASSWORD: 3}
written:
  description: The names that a partly failed push has written. Run the task again to write the rest.
  returned: when a push has failed after some secrets were written
  type: list
  elements: str
  sample: [A, B]
not_written:
  description: The names that a partly failed push has not written.
  returned: when a push has failed after some secrets were written
  type: list
  elements: str
  sample: [C]
errors:
  description: The errors of single secrets that were not written, by name.
  returned: when a push has failed after some secrets were written
  type: dict
  sample: {}
conclusion:
  description:
    - The kind of error in one word. The guide to errors lists all of them.
    - With V(partial), the other return values describe what was done.
  returned: failure
  type: str
  sample: guard
hint:
  description: What to do about the failure. Empty if the message is sufficient.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: The HTTP status of the server's answer, V(null) if there was none.
  returned: failure
  type: int
  sample: 403
"""

from typing import Any

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
from ansible_collections.keyfleet.infisical.plugins.module_utils.local_vault import (
    VAULT_OPTIONS,
    WRITE_OPTIONS,
    after_key,
    open_local,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule

_SHARED = ("project_id", "environment", "secret_path", "state_file")
OPTIONS: dict[str, dict[str, Any]] = {
    "direction": {"type": "str", "choices": ["pull", "push"], "default": "pull"},
    "secrets": {"type": "raw", "no_log": True},
    "source_file": {"type": "path"},
    "from_vault": {"type": "bool", "default": False},
    **argument_spec("sync", without=_SHARED),
    **argument_spec("push", without=_SHARED),
}

PULL_OPTIONS = (
    "job", "recursive", "include_imports", "expand_references", "key_format", "normalize_names", "prune",
    "prune_scope", "max_delete_percent", "allow_empty", "state_hash",
)  # fmt: skip
PUSH_OPTIONS = (
    "normalize_names", "create_path", "prune", "max_delete_percent", "allow_empty", "overwrite_rotated",
)  # fmt: skip
SOURCES = ("secrets", "source_file", "from_vault")


def is_given(value: object) -> bool:
    """Return whether an option is set. An empty mapping of secrets counts as set."""
    return value is not None and value is not False


def work(module: InfisicalModule) -> dict[str, Any]:
    """Pull or push."""
    direction = module.params["direction"]
    for name in ("project_ids",) if direction == "push" else SOURCES:
        if is_given(module.params[name]):
            raise ConfigurationError(name, f"has no meaning with direction: {direction}.")
    return push_secrets(module) if direction == "push" else pull_secrets(module)


def pull_secrets(module: InfisicalModule) -> dict[str, Any]:
    """Make the vault match the secrets in Infisical."""
    options, settings = module.params, module.settings()
    job = Pull(
        project_ids=choose_projects(options["project_ids"], settings.project_id),
        environment=settings.environment,
        secret_path=settings.secret_path,
        precedence=tuple(options["precedence"]),
        **{name: options[name] for name in PULL_OPTIONS},
    )
    vault, state, key_created = open_local(module, options["state_file"], create_key=True)
    with after_key(module, key_created):
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
            "a push must have exactly one of the sources secrets, source_file and from_vault: true (got "
            f"{' and '.join(given) or 'none'}; null counts as not given).",
        )
    vault, vault_state = None, None
    if options["from_vault"] or options["state_hash"] == HMAC:
        # A push uses its own state file instead of the vault's.
        vault, vault_state, _key_created = open_local(module, None)
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
        Push(**{name: options[name] for name in PUSH_OPTIONS}),
        state=open_state(
            options["state_file"] or "", scope, state_hash=options["state_hash"], vault=vault, warn=module.warn
        ),
        vault_state=vault_state if options["from_vault"] else None,
        check=module.check_mode,
    )
    return {**outcome.as_result(), "key_created": False, "msg": f"Push: {outcome.summary()}."}


def main() -> None:
    """Run the module."""
    module = InfisicalModule(argument_spec={**OPTIONS, **VAULT_OPTIONS, **WRITE_OPTIONS})
    module.run(work)


if __name__ == "__main__":
    main()
