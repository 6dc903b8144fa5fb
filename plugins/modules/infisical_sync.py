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
  - With O(direction=pull), brings an encrypted vault on the task's host to what Infisical holds, as one step. Readers
    of the vault see all of the old or all of the new, and a pull without news writes nothing.
  - With O(direction=push), brings a folder of Infisical to what a mapping, a file or the vault holds.
  - In check mode the complete plan is made and nothing is changed, neither in the vault nor in Infisical.
  - The result has names, versions and counts, never values.
options:
  direction:
    description:
      - Which way to sync.
    type: str
    choices: [pull, push]
    default: pull
  job:
    description:
      - The name of this pull. The vault notes with each entry which job has put it there, so that several jobs share
        a vault and prune their own entries only.
      - Each job needs a O(state_file) of its own. Only with O(direction=pull).
    type: str
    default: default
  project_ids:
    description:
      - Projects to pull from. Where this is given, O(project_id) is not used.
      - V([all]) means every project that the identity can see, and so does leaving out both. Servers of 2024 do not
        list projects to machine identities.
      - Only with O(direction=pull).
    type: list
    elements: str
  recursive:
    description:
      - Whether to pull the folders below O(secret_path) too. Only with O(direction=pull).
    type: bool
    default: false
  include_imports:
    description:
      - Whether to pull what the folder imports from other folders too.
      - A secret of the folder itself comes before an imported one of the same name, and of several imports the last
        one comes first. Only with O(direction=pull).
    type: bool
    default: true
  expand_references:
    description:
      - Whether the server replaces references such as V(${OTHER_SECRET}) in values with what they refer to. A reference
        to something that does not exist becomes empty then. Only with O(direction=pull).
      - Servers of late 2026 leave such a reference as it is, which is warned of. A text of several lines that arrives
        quoted, because of its multi-line encoding in Infisical, is restored with a warning.
    type: bool
    default: false
  key_format:
    description:
      - How names in the vault are made, of V({key}), V({path}) and V({project}), such as V({path}/{key}). The path has
        no outer slashes, and of a project it is the slug.
      - Two secrets with different values that would get one name are an error that names both. Only with
        O(direction=pull).
    type: str
    default: "{key}"
  normalize_names:
    description:
      - Whether to write names in upper case, and to make every run of characters outside of C([A-Z0-9_]) one
        underscore. Two names that become one are an error, and nothing is changed.
    type: bool
    default: false
  precedence:
    description:
      - Ids of projects, and paths, in the order in which they come first where secrets with different values would get
        one name. A path holds for the folders below it too. Only with O(direction=pull).
    type: list
    elements: str
    default: []
  prune:
    description:
      - Whether to delete what the source does not have. With O(direction=pull) this deletes entries of this O(job) from
        the vault; with O(direction=push) it deletes secrets from the folder in Infisical.
      - Nothing is pruned where a project could not be read, where the source came back empty, or where the share of
        O(max_delete_percent) would be exceeded. The task fails then.
    type: bool
    default: false
  prune_scope:
    description:
      - With V(job), a pull prunes entries of its own O(job) only.
      - With V(vault), it prunes whatever it does not find in Infisical, also what other jobs and people have put into
        the vault. Only with O(direction=pull).
    type: str
    choices: [job, vault]
    default: job
  max_delete_percent:
    description:
      - How much of what could be deleted O(prune) may delete, in per cent. Where fewer than ten entries could be
        deleted, the share is not asked for.
    type: float
    default: 30.0
  allow_empty:
    description:
      - Whether O(prune) may delete because the source is empty. Real servers answer a mistyped environment or path with
        an empty list. O(max_delete_percent) counts all the same, so that emptying ten entries or more takes both.
    type: bool
    default: false
  overwrite_rotated:
    description:
      - Whether a push may replace or delete secrets that Infisical rotates by itself, which breaks the rotation.
      - Without it, the task fails with RV(conclusion=guard), names the secrets and changes nothing.
    type: bool
    default: false
    version_added: 0.3.0
  secrets:
    description:
      - The source of a push, a mapping of names to values. Values must be strings, so quote them.
      - With O(direction=push), exactly one of this, O(source_file) and O(from_vault=true) is required. V(null), which a
        variable that is not defined may come to, counts as not given; an empty mapping is a source of nothing.
    type: raw
  source_file:
    description:
      - The source of a push, a file on the task's host. It holds a JSON object of strings, or lines C(NAME="value") as
        dotenv files do.
      - Only with O(direction=push).
    type: path
  from_vault:
    description:
      - Whether the source of a push is the vault, with all that it holds, also what other jobs and people have put
        there. Only with O(direction=push).
    type: bool
    default: false
  create_path:
    description:
      - Whether a push makes the folder of O(secret_path), and those above it, where they are missing. Otherwise a
        missing folder is an error. Only with O(direction=push).
    type: bool
    default: false
  state_file:
    description:
      - An absolute path on the task's host, for hashes, versions and times of what was synced.
      - A pull keeps one in any case, by default C(infisical_sync_state.json) beside the vault. It also notices an
        older vault that was put back. One file belongs to one vault and one O(job).
      - A push keeps one only if this is given. An identity that may not read values then needs not write all of them
        on every run. One file belongs to one project, environment and path, and is another one than that of a pull.
    type: path
  state_hash:
    description:
      - How values are hashed in the state file.
      - With V(sha256), whoever can read the file can guess weak values. With V(hmac-sha256), the hash needs a key from
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
  - The options of the vault are looked up like the shared ones, so that C(infisical_vault_path) and
    C(infisical_key_file) may stand in the inventory. Their paths are on the task's host.
  - A push with O(secrets) or O(source_file) needs no vault, unless O(state_hash=hmac-sha256).
  - A push from the vault writes its entries under the names that they have there.
seealso:
  - module: keyfleet.infisical.infisical_vault
  - module: keyfleet.infisical.infisical_vault_info
  - plugin: keyfleet.infisical.infisical_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Host's vault holds what the application needs
  keyfleet.infisical.infisical_sync:
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    environment: prod
    secret_path: /app
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
    create_key: true
    prune: true
  become: true

- name: What a pull would change is known
  keyfleet.infisical.infisical_sync:
    environment: prod
    vault_path: /var/lib/infisical-sync/secrets.vault
    key_file: /var/lib/infisical-sync/vault.key
  check_mode: true
  diff: true
  register: planned

- name: Two projects share a vault
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

- name: Infisical has these settings and no others
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    secret_path: /app/settings
    create_path: true
    secrets: "{{ app_settings }}"
    prune: true
  delegate_to: localhost
  run_once: true

- name: Settings of an old application move to Infisical
  keyfleet.infisical.infisical_sync:
    direction: push
    environment: prod
    source_file: /etc/old-app/environment
    normalize_names: true

- name: Infisical has what this host's vault holds
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
  description: Which way it went.
  returned: success
  type: str
  sample: pull
counts:
  description: How many entries were or would be created, updated and deleted, and how many stay as they are.
  returned: success
  type: dict
  sample: {created: 3, updated: 1, deleted: 0, unchanged: 96}
created:
  description: The names that were created, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [API_KEY]
updated:
  description: The names that were updated, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD]
deleted:
  description: The names that were deleted, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [API_KEY_OLD]
generation:
  description: The generation of the vault after a pull, V(0) for a push or where there is no vault yet.
  returned: success
  type: int
  sample: 12
projects:
  description: The ids of the projects that took part.
  returned: success
  type: list
  elements: str
  sample: [7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d]
failed_projects:
  description:
    - Why projects could not be read, by their id. The others were pulled all the same, and nothing was pruned.
    - Where this is not empty the task has failed.
  returned: always, once a sync has begun to write
  type: dict
  sample: {}
approvals:
  description: The ids of approval requests that secrets of a push wait for. Nothing of these is stored yet.
  returned: success
  type: list
  elements: str
  sample: []
key_created:
  description: Whether O(key_file) was made, or in check mode would be.
  returned: success, and if it was made before a failure
  type: bool
  sample: false
diff:
  description: The version of each name that changed, before and after. By-hand entries of a vault have version V(0).
  returned: success
  type: dict
  sample:
    before: {DB_PASSWORD: 2}
    after: {API_KEY: 1, DB_PASSWORD: 3}
written:
  description: The names that were written before a push failed on its way. A second run does the rest.
  returned: when a push has failed after some secrets were written
  type: list
  elements: str
  sample: [A, B]
not_written:
  description: The names that were not written when a push failed on its way.
  returned: when a push has failed after some secrets were written
  type: list
  elements: str
  sample: [C]
errors:
  description: Why single names were not written.
  returned: when a push has failed after some secrets were written
  type: dict
  sample: {}
conclusion:
  description:
    - What went wrong, in one word. The guide to errors lists all of them.
    - With V(partial), the other return values say what was done.
  returned: failure
  type: str
  sample: guard
hint:
  description: What to do about the failure. Empty if the message says it all.
  returned: failure
  type: str
  sample: Check project_id, environment and secret_path.
  version_added: 0.3.0
http_status:
  description: The status of the server's answer, V(null) where there was none.
  returned: failure
  type: int
  sample: 403
"""

from typing import Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.job import Pull, Push
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.pull import pull
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.sync.push import (
    open_state,
    push,
    read_source,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.vault.state import HMAC, SHA256
from ansible_collections.keyfleet.infisical.plugins.module_utils.local_vault import (
    VAULT_OPTIONS,
    WRITE_OPTIONS,
    after_key,
    opened,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import InfisicalModule

OPTIONS: dict[str, dict[str, Any]] = {
    "direction": {"type": "str", "choices": ["pull", "push"], "default": "pull"},
    "job": {"type": "str", "default": "default"},
    "project_ids": {"type": "list", "elements": "str"},
    "recursive": {"type": "bool", "default": False},
    "include_imports": {"type": "bool", "default": True},
    "expand_references": {"type": "bool", "default": False},
    "key_format": {"type": "str", "default": "{key}", "no_log": False},
    "normalize_names": {"type": "bool", "default": False},
    "precedence": {"type": "list", "elements": "str", "default": []},
    "prune": {"type": "bool", "default": False},
    "prune_scope": {"type": "str", "choices": ["job", "vault"], "default": "job"},
    "max_delete_percent": {"type": "float", "default": 30.0},
    "allow_empty": {"type": "bool", "default": False},
    "overwrite_rotated": {"type": "bool", "default": False},
    "secrets": {"type": "raw", "no_log": True},
    "source_file": {"type": "path"},
    "from_vault": {"type": "bool", "default": False},
    "create_path": {"type": "bool", "default": False},
    "state_hash": {"type": "str", "choices": [SHA256, HMAC], "default": SHA256},
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
    """Return whether an option is set; an empty mapping of secrets is."""
    return value is not None and value is not False


def work(module: InfisicalModule) -> dict[str, Any]:
    """Pull or push."""
    direction = module.params["direction"]
    for name in ("project_ids",) if direction == "push" else SOURCES:
        if is_given(module.params[name]):
            raise ConfigurationError(name, f"has no meaning with direction: {direction}.")
    return push_secrets(module) if direction == "push" else pull_secrets(module)


def pull_secrets(module: InfisicalModule) -> dict[str, Any]:
    """Bring the vault to what Infisical holds."""
    options, settings = module.params, module.settings()
    job = Pull(
        project_ids=choose_projects(options["project_ids"], settings.project_id),
        environment=settings.environment,
        secret_path=settings.secret_path,
        precedence=tuple(options["precedence"]),
        **{name: options[name] for name in PULL_OPTIONS},
    )
    vault, state, key_created = opened(module, options["state_file"], create_key=True)
    with after_key(module, key_created):
        outcome = pull(module.api(), vault, state, job, check=module.check_mode, lock_wait=options["lock_wait"])
    return {
        **outcome.as_result(),
        "changed": outcome.changed or key_created,
        "key_created": key_created,
        "msg": f"Pull: {outcome.summary()}.",
    }


def choose_projects(project_ids: list[str] | None, project_id: str) -> tuple[str, ...]:
    """Return the projects to pull from; none for every project that the identity can see."""
    if project_ids is None:
        return (project_id,) if project_id else ()
    if not project_ids:
        raise ConfigurationError(
            "project_ids", "must not be an empty list.", hint="Set it to project ids, or to [all] for every project."
        )
    return tuple(project_ids)


def push_secrets(module: InfisicalModule) -> dict[str, Any]:
    """Bring a folder of Infisical to what the source holds."""
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
        # A push has its own state file, not the vault's.
        vault, vault_state, _key_created = opened(module, None)
    if options["source_file"] is not None:
        source = read_source(options["source_file"])
    elif options["secrets"] is not None:
        source = options["secrets"]
        if not isinstance(source, dict):
            raise ConfigurationError("secrets", f"must be a mapping of names to strings, not {type(source).__name__}.")
    else:
        source = {name: secret.value or "" for name, secret in vault.read().secrets.items()} if vault else {}
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
