# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for the connection and the login to Infisical."""

from __future__ import annotations

import json

from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.options import OPTIONS


def plugin_options(documentation: str) -> str:
    """Return the documentation of options with `vars`, `ini` and `env`, which plugins document, but modules do not."""
    options = yaml_load(documentation)["options"]
    table = {option.argument: option for option in OPTIONS if option.section in ("infisical", "vault")}
    for name, option in options.items():
        if table[name].secret:
            del option["type"]  # because the error of a wrong type would quote the value
        option["vars"] = [{"name": f"infisical_{name}"}]
        option["ini"] = [{"section": "infisical", "key": name}]
        # Ansible uses the last one that is set.
        option["env"] = [{"name": variable} for variable in reversed(table[name].environment)]
    return json.dumps({"options": options})


class ModuleDocFragment:
    """For modules `keyfleet.infisical.auth`, for plugins `keyfleet.infisical.auth.plugins`."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - The URL of the Infisical server, such as V(https://infisical.example.com).
      - If the server is behind a gateway that uses a path prefix, include the prefix, as in
        V(https://example.com/infisical). A trailing V(/api) is ignored.
      - Required. It can be set as an argument, an Ansible variable, an environment variable, or in C(ansible.cfg).
    type: str
  auth_method:
    description:
      - The login method.
      - V(universal_auth) uses O(client_id) and O(client_secret) of a machine identity.
      - V(token) uses an existing access token.
      - The other methods use O(identity_id) and a proof of the identity that is not stored in Infisical.
        R(The guide,ansible_collections.keyfleet.infisical.docsite.guide_logins) helps to choose a method.
      - Proofs from files, environment variables and the metadata services of clouds are read where the login happens.
        Lookups and modules log in on the controller. If the controller cannot reach the server or does not have the
        proof, a module logs in on its task's host. The agent of a host logs in on this host.
      - In the environment variable E(INFISICAL_AUTH_METHOD), the names that Infisical's own tools use are accepted too,
        such as V(oidc-auth), V(kubernetes) or V(aws-iam).
    type: str
    choices:
      - universal_auth
      - token
      - oidc_auth
      - jwt_auth
      - kubernetes_auth
      - aws_auth
      - azure_auth
      - gcp_auth
      - tls_cert_auth
      - ldap_auth
      - spiffe_auth
    default: universal_auth
  client_id:
    description: The client id from the machine identity's universal auth. Required if O(auth_method=universal_auth).
    type: str
  client_secret:
    description:
      - A client secret from the machine identity's universal auth. Required if O(auth_method=universal_auth).
      - A rejected login is not retried, because some servers lock the identity after three failed logins.
    type: str
  token:
    description: A machine identity's access token. Required if O(auth_method=token).
    type: str
  identity_id:
    description: The id of the machine identity. Required for all login methods except V(universal_auth) and V(token).
    type: str
    version_added: 0.4.0
  jwt:
    description: The JSON web token that proves the identity, for V(oidc_auth), V(jwt_auth), V(spiffe_auth) or
      V(kubernetes_auth). Mutually exclusive with O(jwt_path).
    type: str
    version_added: 0.4.0
  jwt_path:
    description:
      - The absolute path of a file that contains the JSON web token, on the host that logs in. The file is read for
        each login, because such files rotate.
      - A file of the user who logs in must not be accessible to other users, unless its file system is read-only.
      - By default, V(kubernetes_auth) reads the token of the pod's service account.
    type: path
    version_added: 0.4.0
  username:
    description: The user name for O(auth_method=ldap_auth).
    type: str
    version_added: 0.4.0
  password:
    description: The password for O(auth_method=ldap_auth).
    type: str
    version_added: 0.4.0
  client_cert:
    description:
      - The absolute path of a PEM file with a TLS client certificate, on the host that connects to Infisical. Required
        for O(auth_method=tls_cert_auth), and then on the host that logs in.
      - With any login method, the certificate is presented if the server requests one.
    type: path
    version_added: 0.4.0
  client_key:
    description: The absolute path of a PEM file with the private key of O(client_cert). By default, O(client_cert). The
      key must not be encrypted with a passphrase.
    type: path
    version_added: 0.4.0
  organization_slug:
    description: The slug of the organization to log in to, if the identity belongs to several organizations.
    type: str
    version_added: 0.4.0
  ca_path:
    description:
      - The absolute path of a PEM file with trusted certificate authorities, or of a directory with such files. The
        path is on the host that connects to Infisical.
      - By default, the certificate authorities that come with the Python library C(requests) are trusted.
    type: path
  validate_certs:
    description:
      - Verify the server's TLS certificate.
      - With V(false), anyone who can intercept the connection can read the secrets. Use O(ca_path) instead if possible.
    type: bool
    default: true
  proxy:
    description:
      - The URL of a proxy server.
      - Standard proxy variables in the environment, such as E(https_proxy), are ignored.
    type: str
  allow_http:
    description:
      - Allow O(url) to start with V(http://) even if the server is not on the local host.
      - Secrets are then sent unencrypted.
    type: bool
    default: false
  timeout:
    description: The maximum time in seconds to wait for a connection, and to wait for a complete response.
    type: float
    default: 30.0
  api_version:
    description:
      - The version of the server's API for secrets.
      - V(auto) tries V(v4) first, and uses V(v3) if the server does not support V(v4).
    type: str
    choices: [auto, v3, v4]
    default: auto
  rate_limit_wait:
    description:
      - The delay in seconds before a request is retried after it exceeded the server's rate limit. If the server's
        response specifies a delay, that delay is used instead.
      - A request is retried only once.
    type: float
    default: 60.0
  server_error_wait:
    description: The delay in seconds before a request is retried after a server error. A request is retried only once.
    type: float
    default: 30.0
  connection_wait:
    description:
      - The delay in seconds before a request is retried after its connection failed. A request is retried only once.
    type: float
    default: 10.0
  max_wait:
    description:
      - The maximum delay in seconds before a retry if the server specifies the delay. A longer delay is shortened to
        this value.
    type: float
    default: 300.0
  max_response_size:
    description:
      - The maximum size of a response in MiB, after decompression. A larger response is an error.
      - This protects against broken or hostile servers that could exhaust the memory. Ten thousand secrets need about
        5 MiB.
    type: float
    default: 64.0
notes:
  - Options for the connection and the location of secrets can be set in four places. For each option, the first place
    that contains a value is used. In order of precedence, the places are the task's arguments (including
    C(module_defaults)), Ansible variables such as C(infisical_project_id), environment variables such as
    E(INFISICAL_PROJECT_ID), and keys such as C(project_id) in the section C([infisical]) of C(ansible.cfg).
  - All of these places are read on the controller, never on the task's host.
  - If E(INFISICAL_CLIENT_ID) is not set, E(INFISICAL_UNIVERSAL_AUTH_CLIENT_ID) is used. If E(INFISICAL_CLIENT_SECRET)
    is not set, E(INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET) is used. In the same way, E(INFISICAL_MACHINE_IDENTITY_ID)
    sets O(identity_id), E(INFISICAL_OIDC_AUTH_JWT) sets O(jwt) for V(oidc_auth),
    E(INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH) sets O(jwt_path) for V(kubernetes_auth),
    E(INFISICAL_LDAP_USERNAME) sets O(username), E(INFISICAL_LDAP_PASSWORD) sets O(password), and
    E(INFISICAL_AUTH_ORGANIZATION_SLUG) sets O(organization_slug).
  - If the arguments or Ansible variables set O(client_id) or O(client_secret), O(auth_method) in later places is
    ignored. If they set O(identity_id), then O(client_id), O(client_secret) and O(token) in later places are ignored,
    so that no task logs in with another identity. If they set O(jwt) or O(jwt_path), both are ignored in later places.
  - The task's host connects to the server. If this host cannot reach the server, or does not have the Python library
    requests, set C(delegate_to) to V(localhost).
requirements:
  - requests >= 2.25.1
"""

    # Typed, because the yamllint of ansible-test reads an untyped assignment as a literal.
    PLUGINS: str = plugin_options(DOCUMENTATION)
