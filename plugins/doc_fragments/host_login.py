# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the options for the login of a host's agent, and for storing the agent's own secrets."""

from __future__ import annotations


class ModuleDocFragment:
    """Modules extend `keyfleet.infisical.host_login`."""

    DOCUMENTATION = r"""
options:
  identity:
    description:
      - Whether all hosts use the machine identity in the options (V(shared)), or each host uses its own (V(per_host)).
      - With V(per_host), the login options belong to an identity that may manage the project's identities. They stay on
        the controller, except for the options that O(host_auth_method) lists.
    type: str
    choices: [shared, per_host]
    default: shared
    version_added: 0.4.0
  host_auth_method:
    description:
      - The login method of the host's agent, if it differs from O(auth_method). With O(identity=per_host), it must be
        V(universal_auth), which is then the default, or V(jwt_auth).
      - With V(jwt_auth) and without O(jwt_path), the host creates a key pair, and signs a JSON web token at each login.
        The private key never leaves the host. The token is valid for five minutes, its issuer is
        C(keyfleet.infisical), its audience is C(infisical), and its subject is the id of the machine identity.
      - The files in O(jwt_path), O(client_cert) and O(client_key) are on the host. Root must be able to read them; the
        agent's user need not. They are read again for each sync.
      - The hosts get O(organization_slug) with each method. They also get O(client_cert) and O(client_key), because the
        server may require a certificate for TLS. However, if the controller uses O(auth_method=tls_cert_auth), its
        certificate is a login, and the hosts get it only for V(tls_cert_auth).
    type: str
    choices:
      - universal_auth
      - oidc_auth
      - jwt_auth
      - kubernetes_auth
      - aws_auth
      - azure_auth
      - gcp_auth
      - tls_cert_auth
      - ldap_auth
      - spiffe_auth
    version_added: 0.4.0
  credentials:
    description:
      - How to store the agent's own secrets on the host.
      - V(encrypted) uses encrypted credentials, which need systemd 250 or later. V(file) uses files with mode 0600.
      - V(auto) uses encrypted credentials if systemd supports them, and files otherwise.
    type: str
    choices: [auto, encrypted, file]
    default: auto
  credential_key:
    description:
      - The key that encrypts the credentials. V(host) is a key on the host's disk, V(tpm2) is a key in the host's TPM,
        and V(host+tpm2) combines both.
      - A key in the TPM is not bound to PCR values.
    type: str
    choices: [host, tpm2, host+tpm2]
    default: host
"""
