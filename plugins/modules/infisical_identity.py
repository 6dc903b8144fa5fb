#!/usr/bin/python
# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: infisical_identity
author: keyfleet.infisical contributors (@keyfleet)
version_added: 0.4.0
short_description: Manage a machine identity of an Infisical project
description:
  - Creates, changes or deletes a machine identity that belongs to a project, with its role, its login methods, and its
    grants, which are the secrets that it can read or write.
  - Parts that are not set stay unchanged, such as the other login methods of the identity.
  - The identity that logs in for this task needs the role V(admin) in the project.
  - Infisical has had machine identities of projects since 2026. The module refuses older servers before any change.
notes:
  - A login method that an identity has is not removed. To take all logins from an identity, delete the identity.
  - Names of identities are not unique in Infisical. If several identities have the name, the module selects the
    identity that it has created itself, which has the metadata key C(managed_by) with the value
    C(keyfleet.infisical). If there is no such identity, or more than one, the module fails and lists their ids.
  - A new or changed grant takes up to 15 seconds until the server uses it for an identity that has sent requests
    before.
options:
  name:
    description:
      - The name of the identity. It selects the identity if O(id) is not set.
      - If O(id) is set, the identity gets this name.
      - Either O(name) or O(id) is required.
    type: str
  id:
    description:
      - The id of the identity. The identity must exist.
      - This is not the option O(identity_id), which is the identity that logs in.
    type: str
  state:
    description:
      - Whether the identity must exist.
      - If O(state=absent), the identity is deleted, and its access tokens are refused from then on. The module refuses
        to delete the identity that logs in for this task, and an identity that is protected from deletion.
    type: str
    choices: [present, absent]
    default: present
  metadata:
    description:
      - The metadata of the identity, as names and strings. Other keys are removed, except C(managed_by).
      - Do not store secrets in metadata.
    type: dict
  role:
    description:
      - The slug of the identity's only role in the project, such as V(no-access), V(viewer), V(member) or V(admin).
      - A new identity has the role V(no-access). Use O(grants) to give it access to single folders.
    type: str
  delete_protection:
    description: Whether Infisical refuses to delete the identity.
    type: bool
  grants:
    description:
      - The secrets that the identity can read or write, in addition to its role. They replace the earlier grants. An
        empty list removes all grants.
      - The grants are stored as one additional privilege with the slug C(keyfleet). Other privileges stay unchanged.
    type: list
    elements: dict
    suboptions:
      environment:
        description: The slug of the environment, or V(*) for all environments.
        type: str
        required: true
      path:
        description:
          - The path of the folder, starting with a slash.
          - It can be a glob. V(*) matches any characters in the name of one folder, V(?) matches one such character,
            and V(**) matches any characters, including slashes. For example, V(/app/**) matches all folders below
            V(/app), but not V(/app).
          - Infisical does not check that the folder exists.
        type: str
        default: /
      recursive:
        description: Whether the grant includes all folders below O(grants[].path).
        type: bool
        default: false
      access:
        description: V(read), or V(write) to read, create, change and delete secrets.
        type: str
        choices: [read, write]
        default: read
  universal_auth:
    description:
      - The settings of the login with a client id and a client secret. Settings that are not set stay unchanged.
      - If the identity does not have this login method, it is added. An empty mapping adds it with the server's
        defaults.
      - Use the module M(keyfleet.infisical.infisical_client_secret) to create client secrets.
    type: dict
    suboptions:
      access_token_ttl: &ttl
        description: The lifetime of an access token in seconds. The server's default is 2592000, which is 30 days.
        type: int
      access_token_max_ttl: &max_ttl
        description: The lifetime in seconds up to which an access token can be renewed.
        type: int
      access_token_num_uses_limit: &uses
        description: The number of requests that an access token allows, or V(0) for no limit.
        type: int
      access_token_trusted_ips: &ips
        description: IP addresses and networks from which an access token can be used. They require a paid plan.
        type: list
        elements: str
      client_secret_trusted_ips:
        description: IP addresses and networks from which the identity can log in. They require a paid plan.
        type: list
        elements: str
  jwt_auth:
    description: The settings of the login with a JSON web token, whose signature is checked with public keys.
    type: dict
    suboptions:
      access_token_ttl: *ttl
      access_token_max_ttl: *max_ttl
      access_token_num_uses_limit: *uses
      access_token_trusted_ips: *ips
      public_keys:
        description: The public keys in PEM format, at least one. Never set a private key.
        type: list
        elements: str
        required: true
      issuer: &issuer
        description: The required issuer (C(iss)) of the token. An empty string allows any issuer.
        type: str
      audiences: &audiences
        description: The allowed audiences (C(aud)) of the token. An empty list allows any audience.
        type: list
        elements: str
      subject: &subject
        description: The required subject (C(sub)) of the token. An empty string allows any subject.
        type: str
      claims: &claims
        description:
          - The required values of other claims of the token, as names and strings. Commas separate the allowed
            values of a claim.
        type: dict
  tls_cert_auth:
    description: The settings of the login with a TLS client certificate.
    type: dict
    suboptions:
      access_token_ttl: *ttl
      access_token_max_ttl: *max_ttl
      access_token_num_uses_limit: *uses
      access_token_trusted_ips: *ips
      ca_certificate:
        description:
          - The certificate in PEM format of the authority that issues the client certificates, without its private key.
        type: str
        required: true
      allowed_common_names:
        description: The allowed common names of the client certificate. An empty list allows any name.
        type: list
        elements: str
  aws_auth:
    description: The settings of the login with the IAM role or user of a machine or service in AWS.
    type: dict
    suboptions:
      access_token_ttl: *ttl
      access_token_max_ttl: *max_ttl
      access_token_num_uses_limit: *uses
      access_token_trusted_ips: *ips
      sts_endpoint:
        description: The URL of the AWS STS API. The default for a new login method is V(https://sts.amazonaws.com/).
        type: str
      allowed_principal_arns:
        description: The ARNs of the allowed IAM principals. An empty list allows any principal.
        type: list
        elements: str
      allowed_account_ids:
        description: The ids of the allowed AWS accounts. An empty list allows any account.
        type: list
        elements: str
  kubernetes_auth:
    description:
      - The settings of the login with the token of a Kubernetes service account. The token reviewer is not managed. If
        none is set in Infisical, the token of the login reviews itself.
    type: dict
    suboptions:
      access_token_ttl: *ttl
      access_token_max_ttl: *max_ttl
      access_token_num_uses_limit: *uses
      access_token_trusted_ips: *ips
      kubernetes_host:
        description: The URL of the Kubernetes API server.
        type: str
        required: true
      ca_certificate: &ca
        description: The certificate in PEM format with which the server's certificate is checked.
        type: str
      allowed_namespaces:
        description: The allowed namespaces. An empty list allows any namespace.
        type: list
        elements: str
      allowed_service_accounts:
        description: The names of the allowed service accounts. An empty list allows any service account.
        type: list
        elements: str
      allowed_audience:
        description: The required audience of the token. An empty string allows any audience.
        type: str
  oidc_auth:
    description: The settings of the login with a token of an OpenID Connect provider, such as a CI system.
    type: dict
    suboptions:
      access_token_ttl: *ttl
      access_token_max_ttl: *max_ttl
      access_token_num_uses_limit: *uses
      access_token_trusted_ips: *ips
      discovery_url:
        description: The URL of the provider, to which C(/.well-known/openid-configuration) is added.
        type: str
        required: true
      ca_certificate: *ca
      issuer:
        description: The required issuer (C(iss)) of the token.
        type: str
        required: true
      audiences: *audiences
      subject: *subject
      claims: *claims
  environment:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
  secret_path:
    description: Not used. Accepted so that C(module_defaults) for the action group work.
extends_documentation_fragment:
  - keyfleet.infisical.auth
  - keyfleet.infisical.scope
  - keyfleet.infisical.attributes
  - keyfleet.infisical.attributes.change
seealso:
  - module: keyfleet.infisical.infisical_client_secret
  - module: keyfleet.infisical.infisical_identity_info
"""

EXAMPLES = r"""
- name: Create an identity that can read the folder of one application
  keyfleet.infisical.infisical_identity:
    name: ci-shop
    universal_auth:
      access_token_ttl: 900
      access_token_max_ttl: 900
    grants:
      - environment: prod
        path: /shop
        recursive: true
  register: shop

- name: Print the client id
  ansible.builtin.debug:
    msg: "{{ shop.client_id }}"

- name: Let the pipeline of one repository log in without a stored secret
  keyfleet.infisical.infisical_identity:
    name: ci-shop-pipeline
    oidc_auth:
      discovery_url: https://token.actions.githubusercontent.com
      issuer: https://token.actions.githubusercontent.com
      audiences: [https://github.com/example]
      subject: repo:example/shop:ref:refs/heads/main
      access_token_ttl: 600
      access_token_max_ttl: 600
    grants:
      - environment: prod
        path: /shop/deploy

- name: Let a host log in with a token that its own key has signed
  keyfleet.infisical.infisical_identity:
    name: web1
    jwt_auth:
      public_keys: ["{{ lookup('ansible.builtin.file', 'web1.pub') }}"]
      issuer: example
      audiences: [infisical]
      subject: host:web1
    grants:
      - {environment: prod, path: /web}
      - {environment: prod, path: /web/uploads, access: write}

- name: Delete an identity
  keyfleet.infisical.infisical_identity:
    name: ci-shop
    state: absent
"""

RETURN = r"""
identity:
  description:
    - The identity after the task. V(null) if it does not exist, such as in check mode before its creation. In check
      mode, it is as before the task.
  returned: success
  type: dict
  sample:
    id: 2f1d7f0e-4f3e-4b0a-8f6b-6f0f3a1f7c55
    name: ci-shop
    project_id: 7c1e2a4b-0d55-4bd9-8f0e-0b1d2f3a4c5d
    metadata: {managed_by: keyfleet.infisical}
    delete_protection: false
    created_at: "2026-01-15T10:30:00.000Z"
client_id:
  description: The client id of universal auth if O(universal_auth) is set, otherwise V(null).
  returned: success
  type: str
  sample: 0d0cbd61-8c2f-4d5f-b60d-1f5a5c9d7c11
grants:
  description: The grants after the task, in the form of O(grants), or V(null) if O(grants) is not set.
  returned: success
  type: list
  elements: dict
  sample:
    - {environment: prod, path: /shop, recursive: true, access: read}
diff:
  description:
    - The parts of the identity that the task changes, before and after the task. Permissions in the privilege
      C(keyfleet) that are not grants are shown as C(other_permissions).
  returned: success
  type: dict
  sample:
    before: {grants: {grants: ["read prod:/shop"]}}
    after: {grants: {grants: ["read prod:/shop and below"]}}
conclusion: {description: The category of the error (see the troubleshooting guide)., returned: failure, type: str}
problem: {description: The error message without the hint., returned: failure, type: str}
hint: {description: How to fix the error. Can be empty., returned: failure, type: str}
http_status: {description: The HTTP status of the response or V(null)., returned: failure, type: int}
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identity_methods import METHOD_ROUTES
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import check_metadata, trim
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.apply import (
    ROLE_HINT,
    Applied,
    check_removal,
    ensure,
    find,
    remove,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import check_grant
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import (
    MANAGED_BY,
    OURS,
    Change,
    Current,
    Desired,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.module import (
    Definition,
    InfisicalModule,
    run_module,
    summary,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.project_identity import (
    SELECTION,
    build_settings,
    describe_grants,
    describe_identity,
    method_arguments,
    missing,
    project_of,
    selection,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import Identity

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SELECTION,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "metadata": {"type": "dict"},
    "role": {"type": "str"},
    "delete_protection": {"type": "bool"},
    "grants": {
        "type": "list",
        "elements": "dict",
        "options": {
            "environment": {"type": "str", "required": True},
            "path": {"type": "str", "default": "/"},
            "recursive": {"type": "bool", "default": False},
            "access": {"type": "str", "choices": ["read", "write"], "default": "read"},
        },
    },
    **method_arguments(),
}


def build_desired(options: Mapping[str, Any], name: str) -> Desired:
    """Return the desired state, without our own metadata. Raises ConfigurationError."""
    grants = options["grants"]
    if options["role"] is not None and not options["role"].strip():
        raise ConfigurationError("role", "must not be empty.", hint=ROLE_HINT)
    return Desired(
        name=name or None,
        metadata=_build_metadata(options["metadata"]),
        role=options["role"],
        delete_protection=options["delete_protection"],
        methods={
            method: build_settings(method, options[method]) for method in METHOD_ROUTES if options[method] is not None
        },
        grants=None if grants is None else tuple(check_grant(**one) for one in grants),
    )


def _build_metadata(given: Mapping[str, Any] | None) -> dict[str, str] | None:
    checked = check_metadata(given)
    if checked is None:
        return None
    metadata = {trim(key): trim(value) for key, value in checked}  # the server does the same
    empty = sorted(key for key, value in metadata.items() if not key or not value)
    if empty:
        raise ConfigurationError("metadata", f"must not contain empty keys or values (got '{empty[0]}').")
    return metadata


def add_ours(desired: Desired, stored: Identity | None) -> Desired:
    """Return the desired state with our own metadata key, which a new identity gets and any identity keeps."""
    kept = OURS if stored is None else stored.metadata_value(MANAGED_BY)
    if not kept or (desired.metadata is None and stored is not None):
        return desired
    return replace(desired, metadata={MANAGED_BY: kept, **(desired.metadata or {})})


def work(module: InfisicalModule) -> dict[str, Any]:
    """Make the identity match its desired state."""
    project_id, (identity_id, name) = project_of(module), selection(module)
    desired = build_desired(module.params, name)
    api = IdentityApi(module.api())
    identity = find(api, project_id, identity_id=identity_id, name=name)
    if module.params["state"] == "absent":
        if identity is not None:
            check_removal(api, identity)
            if not module.check_mode:
                remove(api, identity)
        after = Current(identity if module.check_mode else None)
        return build_result(module, Applied(after, _removal(identity)), name or identity_id, desired)
    if identity is None and identity_id:
        raise missing(project_id, identity_id, name)
    applied = ensure(api, project_id, identity, add_ours(desired, identity), check=module.check_mode)
    return build_result(module, applied, name or identity_id, desired)


def _removal(identity: Identity | None) -> tuple[Change, ...]:
    return () if identity is None else (Change("identity", describe_identity(identity), None),)


def build_result(module: InfisicalModule, applied: Applied, which: str, desired: Desired) -> dict[str, Any]:
    """Return the result of the task."""
    current, changes = applied.current, applied.changes
    action = None
    if changes:
        created = changes[0].part == "identity" and changes[0].before is None
        action = "delete" if module.params["state"] == "absent" else "create" if created else "update"
    universal = current.methods.get("universal_auth")
    shown = desired.grants is not None and current.identity is not None
    return {
        "changed": bool(changes),
        "identity": describe_identity(current.identity),
        "client_id": None if universal is None else universal.client_id,
        "grants": describe_grants(current.permissions) if shown else None,
        "msg": summary(f"Identity {which}", action, check=module.check_mode),
        "diff": {
            "before": {change.part: change.before for change in changes if change.before is not None},
            "after": {change.part: change.after for change in changes if change.after is not None},
        },
    }


DEFINITION = Definition(work, ARGUMENTS)


def main() -> None:
    """Run the module."""
    run_module(DEFINITION)


if __name__ == "__main__":
    main()
