# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups, modules and the command log in with every method, and leak no proof of an identity."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils import infisical
from contract.proofs import METHODS, PASSWORD, Proofs, id_of
from dev_server.client import DevServer
from integration.controller import LOOKUP, Controller
from integration.leaks import Canary, leaks, places
from integration.shop import PROJECT, SEED
from unit.metadata_server import ROLE

LOGINS = "/auth/[a-z-]+/login$"
LOUD = ("-vvvv", "--diff", "-f", "4")
ONE = f"""
    - name: lookup
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') }}}}"}}
"""
BOTH = f"""
    - name: lookup
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_1') == 'value 1' }}}}"}}
    - name: module
      keyfleet.infisical.infisical_secret: {{name: "OF_{{{{ inventory_hostname | upper }}}}", value: x}}
    - name: again
      ansible.builtin.debug: {{msg: "{{{{ lookup('{LOOKUP}', 'SECRET_2', cache='run') == 'value 2' }}}}"}}
"""


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proofs]:
    made = Proofs(tmp_path_factory.mktemp("proofs"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def _demanding(proofs: Proofs) -> Iterator[DevServer]:
    clients = proofs.folder / "clients.pem"
    with DevServer("2026-07-paid", SEED, client_ca=clients) as process:
        yield process


@pytest.fixture
def demanding(_demanding: DevServer, proofs: Proofs) -> DevServer:
    """A server that demands a client certificate, with an identity for each login method."""
    document = copy.deepcopy(SEED)
    document["identities"] += proofs.identities({PROJECT: "admin"})
    document["settings"] = proofs.trust()
    _demanding.seed(document)
    return _demanding


@pytest.fixture
def fleet(tmp_path: Path, demanding: DevServer) -> Controller:
    """A controller with two local hosts that connect to this server."""
    return Controller(tmp_path, {
        "infisical_url": demanding.url,
        "infisical_ca_path": demanding.ca_path,
        "infisical_project_id": PROJECT,
        "infisical_environment": "dev",
    })  # fmt: skip


def canaries(proofs: Proofs) -> list[Canary]:
    lines = [line for line in proofs.private.decode().splitlines()[1:-1] if line.isalnum()]
    texts = (PASSWORD, ROLE["SecretAccessKey"], ROLE["Token"], *lines[:3])
    return [Canary(text) for text in texts]


def variables_of(proofs: Proofs, method: str) -> dict[str, str]:
    options = {"client_cert": proofs.certificate, **proofs.options(method)}
    return {f"infisical_{name}": value for name, value in options.items()}


@pytest.mark.parametrize("method", METHODS)
def test_lookups_and_modules_share_one_login(
    fleet: Controller, demanding: DevServer, proofs: Proofs, method: str
) -> None:
    fleet.variables.update(variables_of(proofs, method))
    environment = {**proofs.environment(), "ANSIBLE_LOG_PATH": str(fleet.folder / "ansible.log")}

    run = fleet.tasks(BOTH, hosts=2, arguments=LOUD, environment=environment, watch=True).succeeded()

    assert [run.result(task, host)["msg"] for task in ("lookup", "again") for host in ("host1", "host2")] == [True] * 4
    assert [entry["status"] for entry in demanding.requests(LOGINS)] == [200]
    assert {f"OF_HOST{number}" for number in (1, 2)} <= set(demanding.values(PROJECT, "dev"))
    assert leaks(canaries(proofs), places(fleet, run)) == {}


@pytest.mark.parametrize("method", ["jwt_auth", "aws_auth", "tls_cert_auth", "ldap_auth"])
def test_rejected_login_is_sent_once_in_a_run(
    fleet: Controller, demanding: DevServer, proofs: Proofs, method: str
) -> None:
    fleet.variables.update({**variables_of(proofs, method), "infisical_identity_id": "bare"})
    environment = {**proofs.environment(), "ANSIBLE_LOG_PATH": str(fleet.folder / "ansible.log")}
    module = """
    - name: module
      keyfleet.infisical.infisical_secret: {name: NEW, value: x}
      ignore_errors: true"""

    run = fleet.tasks(module + ONE, hosts=2, arguments=LOUD, environment=environment, watch=True)

    failed = run.failure("module", "host1")
    assert (failed["conclusion"], failed["http_status"]) == ("credentials_rejected", 404)
    assert "The identity is bare." in failed["hint"]
    assert "auth method not found for identity" in run.failure("lookup", "host2")["msg"]
    assert [entry["status"] for entry in demanding.requests(LOGINS)] == [404]
    assert leaks(canaries(proofs), places(fleet, run)) == {}


def test_two_identities_in_a_run_do_not_share_values(fleet: Controller, demanding: DevServer, proofs: Proofs) -> None:
    hosts = {
        "reader": variables_of(proofs, "aws_auth"),
        "stranger": {**variables_of(proofs, "aws_auth"), "infisical_identity_id": "bare"},
    }
    run = fleet.tasks(ONE, hosts=hosts, environment=proofs.environment(), arguments=["-f", "1"])
    assert run.result("lookup", "reader")["msg"] == "value 1"
    assert "auth method not found" in run.failure("lookup", "stranger")["msg"]


def test_given_token_of_a_ci_job_leaks_nowhere(fleet: Controller, demanding: DevServer, proofs: Proofs) -> None:
    environment = {
        "INFISICAL_AUTH_METHOD": "oidc-auth",
        "INFISICAL_MACHINE_IDENTITY_ID": id_of("oidc_auth"),
        "INFISICAL_OIDC_AUTH_JWT": proofs.sign("oidc_auth"),
        "INFISICAL_CLIENT_CERT": proofs.certificate,
        "ANSIBLE_LOG_PATH": str(fleet.folder / "ansible.log"),
    }
    run = fleet.tasks(BOTH, hosts=2, arguments=LOUD, environment=environment, watch=True).succeeded()
    # The environment contains the token, as the CI system sets it.
    searched = {place: text for place, text in places(fleet, run).items() if place != "arguments and environments"}
    assert leaks(canaries(proofs), searched) == {}


def test_missing_proof_on_the_controller_is_reported(fleet: Controller, demanding: DevServer, proofs: Proofs) -> None:
    fleet.variables.update({**variables_of(proofs, "oidc_auth"), "infisical_jwt_path": "/missing/token"})
    run = fleet.tasks(ONE)
    assert "jwt_path: '/missing/token' does not exist on the host that logs in." in run.failure("lookup")["msg"]
    assert demanding.requests(LOGINS) == []


# The command


def command(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    room = Path(str(infisical.__file__)).parent
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(room.parents[5]), **environment}
    return subprocess.run(
        [sys.executable, "-m", f"{infisical.__name__}.cli.main", *arguments],
        env=surroundings, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, demanding: DevServer) -> dict[str, str]:
    """The environment of the command, with a new vault."""
    environment = {
        "INFISICAL_URL": demanding.url, "INFISICAL_CA_PATH": str(demanding.ca_path),
        "INFISICAL_PROJECT_ID": PROJECT, "INFISICAL_ENVIRONMENT": "dev", "INFISICAL_SECRET_PATH": "/app",
        "INFISICAL_VAULT_PATH": str(tmp_path / "vault"), "INFISICAL_KEY_FILE": str(tmp_path / "key"),
    }  # fmt: skip
    made = command(tmp_path, environment, "vault", "keygen")
    assert made.returncode == 0, made.stderr
    return environment


@pytest.mark.parametrize("method", METHODS)
def test_command_logs_in_with_each_method(
    tmp_path: Path, place: dict[str, str], demanding: DevServer, proofs: Proofs, method: str
) -> None:
    options = {"client_cert": proofs.certificate, **proofs.options(method)}
    environment = {f"INFISICAL_{name.upper()}": value for name, value in options.items()}
    done = command(tmp_path, {**place, **environment, **proofs.environment()}, "sync")
    assert done.returncode == 0, done.stderr
    assert "2 created" in done.stdout
    rejected = {**environment, "INFISICAL_IDENTITY_ID": "bare"}
    done = command(tmp_path, {**place, **rejected, **proofs.environment()}, "sync")
    assert done.returncode == 3 and "The identity is bare." in done.stderr
    found = leaks(canaries(proofs), {"printed": (done.stdout + done.stderr).encode()})
    assert found == {}


def test_command_names_the_missing_option_of_a_method(tmp_path: Path, place: dict[str, str]) -> None:
    for options, missing in (
        (("--auth-method", "oidc_auth"), "--identity-id"),
        (("--auth-method", "oidc_auth", "--identity-id", "x"), "--jwt-path"),
        (("--auth-method", "jwt_auth", "--identity-id", "x"), "for jwt_auth, --jwt-key-file."),
        (("--auth-method", "oidc"), "(got 'oidc')"),
        (("--auth-method", "jwt_auth", "--identity-id", "x", "--jwt-key-file", "/k"), "INFISICAL_JWT_SUBJECT"),
        (("--auth-method", "ldap_auth", "--identity-id", "x", "--username", "u"), "--password-file"),
        (("--auth-method", "tls_cert_auth", "--identity-id", "x"), "--client-cert"),
        (("--identity-id", "x"), "auth_method"),
    ):
        done = command(tmp_path, place, "sync", *options)
        assert done.returncode == 2 and missing in done.stderr, done.stderr
