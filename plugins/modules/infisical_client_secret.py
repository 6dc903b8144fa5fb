#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_client_secret
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.4.0
short_description: Create, rotate or revoke client secrets of a machine identity
description:
  - Manages the client secrets with which a machine identity logs in through universal auth. The identity must have
    this login method, which M(keyfleet.infisical.infisical_identity) adds.
  - A client secret is identified by its description. Its text is returned once, by the task that has created it, and
    never again.
  - A task that would create a client secret is refused unless the task has C(no_log=true), so that the text is not
    printed. If such a task fails, the error is printed nevertheless, because it contains no secret.
  - The identity that logs in for this task needs the role V(admin) in the project.
notes:
  - If a run is interrupted after a client secret was created, its text is lost. Then use O(state=rotated).
  - A revoked client secret also ends the access tokens of its logins. Therefore, the module refuses to revoke the
    client secret that is logged in for this task, or that may be logged in.
  - The remaining lifetime of a client secret is computed with the clock of the task's host.
options:
  name:
    description: The name of the identity. Either O(name) or O(id) is required.
    type: str
  id:
    description:
      - The id of the identity. If it is set, O(name) is not used.
      - This is not the option O(identity_id), which is the identity that logs in.
    type: str
  description:
    description:
      - The description of the client secret. It is required, except if O(state=revoked) and O(client_secret_id) is set.
    type: str
  state:
    description:
      - With V(present), a client secret is created if none with this description is valid for at least O(renew_before)
        seconds. Earlier client secrets stay valid.
      - With V(rotated), a client secret is always created, and then all other ones with this description are revoked.
      - With V(revoked), all client secrets with this description are revoked, or the one with the id
        O(client_secret_id).
    type: str
    choices: [present, rotated, revoked]
    default: present
  ttl:
    description:
      - The lifetime of a new client secret in seconds, at most 10 years (V(315360000)), or V(0) for no limit. The
        default is 90 days.
    type: int
    default: 7776000
  renew_before:
    description:
      - Create a new client secret if the existing one is valid for less than this number of seconds.
      - The default is a third of O(ttl). Only used if O(state=present).
    type: int
  num_uses_limit:
    description: The number of logins that a new client secret allows, or V(0) for no limit.
    type: int
    default: 0
  client_secret_id:
    description:
      - The id of the only client secret to revoke. Only used if O(state=revoked). The module warns of an unknown id.
    type: str
  keep:
    description: The ids of client secrets to keep. Only used if O(state=rotated) or O(state=revoked).
    type: list
    elements: str
    default: []
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
attributes:
  async:
    support: partial
    details: Not for a task that returns a client secret, because Ansible would store it in a file.
  idempotent:
    support: partial
    details: With O(state=rotated), each run creates a client secret.
seealso:
  - module: keyfleet.infisical.infisical_identity
"""

EXAMPLES = r"""
- name: Create a client secret, or a new one when a third of its lifetime is left
  keyfleet.infisical.infisical_client_secret:
    name: ci-shop
    description: pipeline
    ttl: 2592000
  register: shop_login
  no_log: true

- name: Store the new client secret
  ansible.builtin.include_tasks: store.yml
  when: shop_login.client_secret is not none

- name: Revoke the earlier client secrets after the new one was stored
  keyfleet.infisical.infisical_client_secret:
    name: ci-shop
    description: pipeline
    state: revoked
    keep: ["{{ shop_login.client_secret_id }}"]

- name: Replace a leaked client secret at once
  keyfleet.infisical.infisical_client_secret:
    name: ci-shop
    description: pipeline
    state: rotated
  register: shop_login
  no_log: true
"""

RETURN = r"""
client_secret:
  description:
    - The text of the client secret if this task has created it, otherwise V(null). The task must have C(no_log=true).
  returned: success
  type: str
  sample: 4f8c…
client_secret_id:
  description: The id of the valid client secret. V(null) in check mode before its creation, and if O(state=revoked).
  returned: success
  type: str
  sample: 5b9f9f6e-3f2b-4c39-8f07-0d2b1c4e6a11
expires_at:
  description: The end of its lifetime, or V(null) if it has no limit.
  returned: success
  type: str
  sample: "2026-04-15T10:30:00Z"
revoked:
  description: The ids of the client secrets that the task has revoked or, in check mode, would revoke.
  returned: success
  type: list
  elements: str
  sample: []
not_revoked:
  description:
    - The ids of earlier client secrets that could not be revoked after the new one was created. The task does not fail,
      because the text of the new client secret would be lost. Revoke them with O(state=revoked).
  returned: success
  type: list
  elements: str
  sample: []
diff:
  description: The client secrets with this description that are not revoked, before and after the task.
  returned: success
  type: dict
  sample:
    before: {client_secrets: []}
    after: {client_secrets: [{client_secret_id: 5b9f9f6e-3f2b-4c39-8f07-0d2b1c4e6a11, ttl: 2592000}]}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.times import format_time
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities import client_secrets
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import Definition, InfisicalModule, run_module
from ansible_collections.keyfleet.infisical.plugins.module_utils.project_identity import (
    SELECTION,
    find_selected,
    selection,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import (
        ClientSecret,
        NewClientSecret,
    )

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SELECTION,
    "description": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "rotated", "revoked"], "default": "present"},
    "ttl": {"type": "int", "default": 90 * 86400},
    "renew_before": {"type": "int"},
    "num_uses_limit": {"type": "int", "default": 0},
    "client_secret_id": {"type": "str", "no_log": False},
    "keep": {"type": "list", "elements": "str", "default": []},
}


MAX_TTL = 10 * 365 * 86400
"""The longest lifetime of a new client secret in seconds."""


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an invalid combination of options."""
    if not options["description"] and not (options["state"] == "revoked" and options["client_secret_id"]):
        raise ConfigurationError("description", "must be set to the description of the client secret.")
    for name in ("ttl", "renew_before", "num_uses_limit"):
        if (options[name] or 0) < 0:
            raise ConfigurationError(name, f"must not be negative (got {options[name]}).")
    if options["ttl"] > MAX_TTL:
        raise ConfigurationError("ttl", f"must be at most {MAX_TTL}, which is 10 years (got {options['ttl']}).")
    if options["ttl"] and (options["renew_before"] or 0) >= options["ttl"]:
        raise ConfigurationError(
            "renew_before", f"must be less than ttl, which is {options['ttl']} (got {options['renew_before']})."
        )


def work(module: InfisicalModule) -> dict[str, Any]:
    """Create or revoke client secrets of the identity."""
    options = module.params
    check_options(options)
    api = IdentityApi(module.api())
    identity_id = selection(module)[0] or find_selected(module, api).id
    task = _Task(module, api, identity_id)
    if options["state"] == "revoked":
        return task.revoke()
    renew_before = options["ttl"] // 3 if options["renew_before"] is None else options["renew_before"]
    valid = client_secrets.find_valid(task.known, options["description"], task.now, renew_before)
    if options["state"] == "present" and valid is not None:
        return task.build_result(valid)
    return task.create(rotates=options["state"] == "rotated")


class _Task:
    """The work for one identity; `known` are its client secrets before the task."""

    def __init__(self, module: InfisicalModule, api: IdentityApi, identity_id: str) -> None:
        self.module = module
        self.api = api
        self.identity_id = identity_id
        self.known = api.client_secrets(identity_id)
        self.now = api.api.transport.clock.time()

    def _selects(self, one: ClientSecret) -> bool:
        options = self.module.params
        if options["state"] == "revoked" and options["client_secret_id"]:
            return bool(one.id == options["client_secret_id"])
        return bool(one.description == options["description"])

    def revoke(self) -> dict[str, Any]:
        """Revoke the selected client secrets."""
        if self.module.params["client_secret_id"]:
            self._warn_of_unknown("client_secret_id", [self.module.params["client_secret_id"]])
        self._warn_of_unknown("keep", self.module.params["keep"])
        old = client_secrets.select(self.known, self._selects, self.module.params["keep"])
        client_secrets.check_revocation(self.api, self.identity_id, old)
        if not self.module.check_mode:
            client_secrets.revoke(self.api, self.identity_id, old)
        return self.build_result(None, revoked=[one.id for one in old])

    def _warn_of_unknown(self, option: str, ids: Iterable[str]) -> None:
        """Warn of ids that the server does not list. It is not an error, because a server can leave out client secrets
        that were revoked before (assumed)."""
        unknown = sorted(set(ids) - {one.id for one in self.known})
        if unknown:
            self.module.warn(
                f"{option}: identity {self.identity_id} has no client secret with the id {', '.join(unknown)}. Check "
                "the id, unless it was revoked before."
            )

    def create(self, *, rotates: bool) -> dict[str, Any]:
        """Create a client secret, and revoke the earlier ones if `rotates` is true."""
        options, keep = self.module.params, self.module.params["keep"]
        if not (self.module.known or {}).get("no_log"):
            raise ConfigurationError(
                "no_log",
                "must be true for this task, because it would create a client secret and return it.",
                hint="Set no_log: true for the task, and register its result.",
            )
        old = client_secrets.select(self.known, self._selects, keep) if rotates else []
        client_secrets.check_revocation(self.api, self.identity_id, old)
        if rotates:
            self._warn_of_unknown("keep", keep)
        if self.module.check_mode:
            return self.build_result(None, changed=True, revoked=[one.id for one in old])
        new = client_secrets.create(
            self.api,
            self.identity_id,
            options["description"],
            ttl=options["ttl"],
            uses_limit=options["num_uses_limit"],
            known={one.id for one in self.known},
        )
        left = []
        for one in old:
            try:
                client_secrets.revoke(self.api, self.identity_id, [one])
            except InfisicalError as error:  # raising it would lose the new client secret
                self.module.warn(f"Client secret {one.id} could not be revoked: {error}")
                left.append(one.id)
        revoked = [one.id for one in old if one.id not in left]
        return self.build_result(new.data, new=new, changed=True, revoked=revoked, not_revoked=left)

    def build_result(
        self,
        valid: ClientSecret | None,
        *,
        new: NewClientSecret | None = None,
        changed: bool = False,
        revoked: Collection[str] = (),
        not_revoked: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return the result of the task."""
        options = self.module.params
        before = client_secrets.select(self.known, self._selects)
        after = [*(one for one in before if one.id not in revoked), *([] if new is None else [new.data])]
        creates = changed and options["state"] != "revoked"
        planned = [{"description": options["description"], "ttl": options["ttl"]}] if creates and new is None else []
        would = "would be " if self.module.check_mode else ""
        changes = [
            *([f"{would}created"] if creates else []),
            *([f"{len(revoked)} {would}revoked"] if revoked else []),
        ]
        which = options["name"] or self.identity_id
        return {
            "changed": bool(changes),
            "client_secret": None if new is None else new.secret,
            "client_secret_id": None if valid is None else valid.id,
            "expires_at": None if valid is None or valid.expires_at is None else format_time(valid.expires_at),
            "revoked": list(revoked),
            "not_revoked": list(not_revoked),
            "msg": f"Client secrets of identity {which}: {', '.join(changes) or 'unchanged'}.",
            "diff": {
                "before": {"client_secrets": [_describe(one) for one in before]},
                "after": {"client_secrets": [*map(_describe, after), *planned]},
            },
        }


def _describe(one: ClientSecret) -> dict[str, Any]:
    return {"client_secret_id": one.id, "description": one.description, "ttl": one.ttl, "created_at": one.created_at}


DEFINITION = Definition(work, ARGUMENTS)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
