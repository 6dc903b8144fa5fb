# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login of a host's agent: its options, its own key, its files, and the note about its identity."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the host's key needs cryptography")

from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import (
    config,
    host_login,
    install,
    own_key,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import host as hosts
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent import jobs as agent_jobs
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.held_identity import (
    read_note,
    read_usable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.agent.report import CycleReport
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import files, systemd
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    InfisicalError,
    StorageFailed,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import NOTHING, HeldIdentity
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import jwt
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login.methods import (
    GivenToken,
    method_for,
)
from unit import test_agent
from unit.test_agent import AGENT, MACHINE, OTHER_MACHINE, Host

host = test_agent.host  # the fixture

IDENTITY = "5f2d9c1e-7a3b-4c8d-9e0f-1a2b3c4d5e6f"
PROOFS = {
    "oidc_auth": {"jwt_path": "/run/oidc/token"},
    "jwt_auth": {"jwt_path": "/run/jwt %h/token"},
    "kubernetes_auth": {"jwt_path": "/var/run/secrets/token"},
    "spiffe_auth": {"jwt_path": "/run/spiffe/svid.jwt"},
    "aws_auth": {},
    "azure_auth": {},
    "gcp_auth": {},
    "tls_cert_auth": {"client_cert": "/etc/ssl/host.pem", "client_key": "/etc/ssl/private/host.key"},
    "ldap_auth": {"username": "web1", "password": "CANARY-ldap-password"},
}


def agent(method: str, **options: str) -> Any:
    """Return the agent with a login method and its options."""
    settings = Settings(url="https://infisical.example.com", auth_method=method, identity_id=IDENTITY, **options)
    return replace(AGENT, settings=settings, identity=host_login.describe_identity(settings, {}))


OWN_KEY = agent("jwt_auth")


def per_host(secret: str, id_: str, expires_at: int = 1_800_000_000) -> Any:
    """Return the agent with an identity of the host's own. Without a `secret`, the host keeps its client secret."""
    given = {"client_id": "own-client", "client_secret_id": id_, "expires_at": expires_at}
    settings = Settings(url="https://infisical.example.com", client_id="own-client", client_secret=secret)
    return replace(AGENT, settings=replace(settings, identity_id=IDENTITY),
                   identity=host_login.describe_identity(replace(settings, identity_id=IDENTITY), given))  # fmt: skip


def configured(host: Host) -> Settings:
    """Return the settings of a sync in the service of the job, whose credentials systemd has loaded."""
    unit = host.path("etc/systemd/system/infisical-sync@.service").read_text("utf-8")
    folder = host.path("run/credentials/infisical-sync@shop.service")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for line in unit.splitlines():
        kind, _equals, value = line.partition("=")
        name, _colon, source = value.partition(":")
        path = source.replace("%%", "%")
        if kind == "LoadCredentialEncrypted":
            (folder / name).write_bytes(systemd.decrypt(name, path))
        elif kind == "LoadCredential":
            found = Path(path)
            (folder / name).write_bytes(found.read_bytes() if found.exists() else b"")
    for each in folder.iterdir():
        each.chmod(0o400)
    settled = config.SyncConfig({}, {"CREDENTIALS_DIRECTORY": str(folder)}, config.job_file("shop"))
    return Settings.from_options(settled.get_server_options("sync"))


@pytest.mark.parametrize("version", [252, 249])
@pytest.mark.parametrize("method", PROOFS)
def test_agent_can_be_installed_with_every_login_method(host: Host, method: str, version: int) -> None:
    host.facts = host.facts._replace(systemd=version)
    wanted = agent(method, **PROOFS[method])
    host.same_in_check_mode(wanted)
    host.fill()
    host.settled(wanted)
    settings = configured(host)
    assert (settings.auth_method, settings.identity_id) == (method, IDENTITY)
    loaded = {str(host.path(f"run/credentials/infisical-sync@shop.service/{name}"))
              for name in ("infisical_jwt", "infisical_client_cert", "infisical_client_key")}  # fmt: skip
    for name, given in PROOFS[method].items():
        value = getattr(settings, name)
        assert value in loaded if given.startswith("/") else value == given
    method_for(settings)
    stored = [path for path in host.root.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    plain = host.path("etc/infisical-sync/credentials/infisical_password")
    running = host.path("run/credentials/infisical-sync@shop.service/infisical_password")
    assert set(stored) - {running} == ({plain} if method == "ldap_auth" and version < 250 else set())
    assert not host.path("etc/credstore.encrypted/infisical_client_secret").exists()


def test_changing_the_login_method_removes_the_old_credentials(host: Host) -> None:
    host.apply()
    host.apply(OWN_KEY)
    assert own_key.find_key(MACHINE) is not None
    names = sorted(path.name for path in host.path("etc/credstore.encrypted").iterdir())
    assert names == ["infisical_jwt_key", "infisical_vault_key"]
    host.apply(agent("aws_auth"))
    assert [path.name for path in host.path("etc/credstore.encrypted").iterdir()] == ["infisical_vault_key"]
    assert not Path(own_key.machine_file()).exists()


@pytest.mark.parametrize("version", [252, 249])
def test_agent_signs_tokens_with_the_hosts_own_key(host: Host, version: int) -> None:
    host.facts = host.facts._replace(systemd=version)
    done = host.same_in_check_mode(OWN_KEY)
    assert "the host's key pair is created" in done.lines
    host.fill()
    host.settled(OWN_KEY)
    method = method_for(configured(host))
    assert not isinstance(method, GivenToken)
    request = method.prepare(1_000_000.0)
    claims = jwt.read_claims(request.body["jwt"])
    assert claims is not None
    assert (claims["sub"], claims["exp"]) == (IDENTITY, 1_000_300)
    key = own_key.find_key(MACHINE)
    assert key is not None
    body = b"".join(key.splitlines()[1:-1])[:64]
    shutil.rmtree(host.path("run/credentials"))
    holders = [
        path for path in host.root.rglob("*") if path.is_file() and body in path.read_bytes().replace(b"\n", b"")
    ]
    plain = host.path("etc/infisical-sync/credentials/infisical_jwt_key")
    assert holders == ([plain] if version < 250 else [])
    if version < 250:
        assert host.what(str(plain.relative_to(host.root))) == (0, 0, 0o600)
    assert not any(body.decode() in text for _path, *texts in done.diffs for text in texts)
    assert body.decode() not in "".join(host.programs.calls())


@pytest.mark.parametrize("storage", ["encrypted", "file"])
def test_clone_of_a_host_gets_its_own_key(host: Host, storage: str) -> None:
    wanted = replace(OWN_KEY, credentials=storage)
    host.apply(wanted)
    original = own_key.find_key(MACHINE)
    host.facts = host.facts._replace(machine_id=OTHER_MACHINE)
    host.path("etc/machine-id").write_text(OTHER_MACHINE + "\n")
    assert own_key.find_key(OTHER_MACHINE) is None
    # The preflight creates the key, and the installation then keeps it.
    key = ensure(OTHER_MACHINE, encrypted=storage == "encrypted")
    assert key not in (None, original)
    assert ensure(OTHER_MACHINE, encrypted=storage == "encrypted") == key
    host.apply(wanted)
    assert own_key.find_key(OTHER_MACHINE) == key
    host.fill()
    host.settled(wanted)


def ensure(
    machine: str, *, encrypted: bool = True, check: bool = False, rotates: bool = False
) -> bytes | None:  # fmt: skip
    host = hosts.Host(check)
    return own_key.ensure_key(host, machine, encrypted=encrypted, credential_key="host", rotates=rotates)


@pytest.mark.parametrize("storage", ["encrypted", "file"])
def test_new_key_removes_the_note_and_makes_the_host_sync(host: Host, storage: str) -> None:
    wanted = replace(OWN_KEY, credentials=storage)
    host.apply(wanted)
    host.fill()
    before = own_key.find_key(MACHINE)
    assert ensure(MACHINE, encrypted=storage == "encrypted", check=True, rotates=True) is None
    assert (own_key.find_key(MACHINE), read_note().identity_id) == (before, IDENTITY)
    key = ensure(MACHINE, encrypted=storage == "encrypted", rotates=True)
    assert key not in (None, before)
    assert (own_key.find_key(MACHINE), read_note()) == (key, NOTHING)
    assert ensure(MACHINE, encrypted=storage == "encrypted") == key
    assert host.apply(wanted).due == ["shop"]
    assert read_note().identity_id == IDENTITY
    host.fill()
    host.settled(wanted)


def test_lost_key_can_be_replaced(host: Host) -> None:
    ensure(MACHINE)
    host.path("etc/credstore.encrypted/infisical_jwt_key").write_bytes(b"")
    key = ensure(MACHINE, rotates=True)
    assert key is not None
    assert ensure(MACHINE) == key


@pytest.mark.parametrize("damage", [b"", b"other 1 QUJD", b"infisical_jwt_key 1 QUJD"])
def test_key_that_cannot_be_read_is_not_replaced(host: Host, damage: bytes) -> None:
    before = ensure(MACHINE)
    path = host.path("etc/credstore.encrypted/infisical_jwt_key")
    whole = path.read_bytes()
    path.write_bytes(damage)
    with pytest.raises(StorageFailed, match="own key cannot be read: ") as caught:
        ensure(MACHINE)
    assert caught.value.hint.startswith(f"Run the task again. If the key is lost, delete {path} first")
    assert path.read_bytes() == damage
    path.write_bytes(whole)
    assert ensure(MACHINE) == before
    path.unlink()
    assert ensure(MACHINE) not in (None, before)


def test_plain_key_that_cannot_be_read_is_not_replaced(host: Host) -> None:
    ensure(MACHINE, encrypted=False)
    path = host.path("etc/infisical-sync/credentials/infisical_jwt_key")
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailed, match="own key cannot be read: "):
        ensure(MACHINE, encrypted=False)
    assert path.is_dir()


def test_key_is_not_replaced_if_systemd_creds_cannot_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ensure(MACHINE)

    def run(*_arguments: Any, **_names: Any) -> Any:
        raise systemd.CannotRun("systemd-creds did not end in time.")

    with monkeypatch.context() as patch:
        patch.setattr(systemd, "run", run)
        with pytest.raises(StorageFailed, match="did not end in time"):
            ensure(MACHINE)
    assert own_key.find_key(MACHINE) == before


def test_check_mode_creates_no_key(host: Host) -> None:
    assert ensure(MACHINE, check=True) is None
    assert not host.path("etc/credstore.encrypted").exists()


@pytest.mark.parametrize("storage", ["encrypted", "file"])
def test_interrupted_creation_never_keeps_a_cloned_key(
    host: Host, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    encrypted = storage == "encrypted"
    original = ensure(MACHINE, encrypted=encrypted)
    host.path("etc/machine-id").write_text(OTHER_MACHINE + "\n")
    write, steps = files.write_atomic, 0
    for last in range(3):
        steps = 0

        def stop(*arguments: Any, at: int = last, **names: Any) -> None:
            nonlocal steps
            if steps == at:
                raise KeyboardInterrupt
            steps += 1
            write(*arguments, **names)

        with monkeypatch.context() as patch:
            patch.setattr(files, "write_atomic", stop)
            try:
                ensure(OTHER_MACHINE, encrypted=encrypted)
            except KeyboardInterrupt:
                assert last < 2
        assert own_key.find_key(OTHER_MACHINE) != original
    assert own_key.find_key(OTHER_MACHINE) is not None


def test_error_about_a_loaded_file_names_the_configured_file(host: Host) -> None:
    host.apply(agent("oidc_auth", jwt_path="/run/oidc/token"))
    folder = host.path("run/credentials/infisical-sync@shop.service")
    folder.mkdir(parents=True)
    (folder / "infisical_jwt").touch()
    settled = config.SyncConfig({}, {"CREDENTIALS_DIRECTORY": str(folder)}, config.job_file("shop"))
    path = settled.get_server_options("sync")["jwt_path"]
    assert path == str(folder / "infisical_jwt")
    assert settled.name_sources(f"'{path}' is empty.") == "'/run/oidc/token' is empty."


# The note


def test_note_names_the_identity_of_the_host(host: Host) -> None:
    host.same_in_check_mode(per_host("CANARY-first", "secret-1"))
    host.fill()
    host.settled(per_host("CANARY-first", "secret-1"))
    assert read_usable() == HeldIdentity(IDENTITY, "own-client", "secret-1", 1_800_000_000, "universal_auth")
    assert host.what("etc/infisical-sync/identity.json") == (0, 0, 0o644)
    host.same_in_check_mode(per_host("CANARY-second", "secret-2"))
    assert read_usable().client_secret_id == "secret-2"
    assert configured(host).client_secret == "CANARY-second"


def test_host_keeps_its_client_secret_if_it_gets_none(host: Host) -> None:
    host.apply(per_host("CANARY-first", "secret-1"))
    host.fill()
    host.settled(per_host("", "secret-1"))
    for storage in ("file", "encrypted"):
        host.same_in_check_mode(replace(per_host("", "secret-1"), credentials=storage))
        assert configured(host).client_secret == "CANARY-first"
        assert read_usable().client_secret_id == "secret-1"


@pytest.mark.parametrize("lost", ["removed", "damaged", "moved"])
def test_note_of_a_lost_client_secret_is_not_usable(host: Host, lost: str) -> None:
    host.apply(per_host("CANARY-first", "secret-1"))
    path = host.path("etc/credstore.encrypted/infisical_client_secret")
    if lost == "removed":
        path.unlink()
    elif lost == "damaged":
        path.write_bytes(b"damaged")
    else:
        host.path("etc/machine-id").write_text(OTHER_MACHINE + "\n")
        host.facts = host.facts._replace(machine_id=OTHER_MACHINE)
    assert read_usable() == NOTHING
    with pytest.raises(ConfigurationError, match="no longer has the client secret"):
        host.apply(per_host("", "secret-1"))
    host.apply(per_host("CANARY-second", "secret-2"))
    assert read_usable().client_secret_id == "secret-2"


def test_note_never_names_a_client_secret_that_is_missing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {f"secret-{number}": f"CANARY-{number}" for number in range(60)}
    host.apply(per_host(wanted["secret-0"], "secret-0"))
    for number in range(1, 60):
        id_ = f"secret-{number}"
        finished = stops_after(number % 12, host, per_host(wanted[id_], id_), monkeypatch)
        stored = systemd.decrypt("infisical_client_secret")
        held = read_note().client_secret_id
        assert not held or wanted[held].encode() == stored
        assert stored.decode() in wanted.values(), "the host has no working credential"
        assert not finished or held == id_
        host.apply(per_host(wanted[id_], id_))


def stops_after(steps: int, host: Host, wanted: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Install, but end as if the process was killed before its change number `steps`. Return whether it finished."""
    left = [steps]

    def counted(function: Any) -> Any:
        def change(*arguments: Any, **names: Any) -> Any:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return function(*arguments, **names)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", counted(files.write_atomic))
        patch.setattr(os, "unlink", counted(os.unlink))
        try:
            host.apply(wanted)
        except KeyboardInterrupt:
            return False
    return True


def test_rejected_login_of_the_agent_is_reported(host: Host) -> None:
    host.apply(per_host("CANARY-first", "secret-1"))
    record = host.path("var/lib/infisical-sync/login.json")
    for content, expected in (
        ({}, False), ({"conclusion": "locked_out"}, False), ({"conclusion": "credentials_rejected"}, True), ([], False)
    ):  # fmt: skip
        record.write_text(json.dumps(content))
        assert read_usable().rejected is expected


def test_rejection_of_an_earlier_client_secret_is_forgotten(host: Host) -> None:
    host.apply(per_host("CANARY-first", "secret-1"))
    record = host.path("var/lib/infisical-sync/login.json")
    record.write_text(json.dumps({"conclusion": "credentials_rejected"}))
    host.apply(per_host("", "secret-1"))
    assert read_usable().rejected
    host.apply(per_host("CANARY-second", "secret-2"))
    assert not read_usable().rejected


def test_removing_the_agent_removes_its_key_and_its_note(host: Host) -> None:
    host.apply(OWN_KEY)
    assert read_note().auth_method == "jwt_auth"
    install.remove(remove_vault=False)
    left = {path.name for path in host.path("etc").rglob("*") if path.is_file()}
    assert left == {"machine-id", "credential-key", "infisical_vault_key"}


# Options


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"auth_method": "token"}, "auth_method"),
        ({"auth_method": "universal_auth", "client_id": "x"}, "client_secret"),
        ({"auth_method": "universal_auth", "client_secret": "x"}, "client_id"),
        ({"auth_method": "jwt_auth"}, "identity_id"),
        ({"auth_method": "aws_auth"}, "identity_id"),
        ({"auth_method": "oidc_auth", "identity_id": "x"}, "jwt_path"),
        ({"auth_method": "spiffe_auth", "identity_id": "x", "jwt_path": "token"}, "jwt_path"),
        ({"auth_method": "tls_cert_auth", "identity_id": "x"}, "client_cert"),
        ({"auth_method": "ldap_auth", "identity_id": "x", "username": "x"}, "password"),
    ],
)
def test_missing_option_of_a_login_method_is_refused(options: dict[str, str], option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        host_login.check_login(Settings(url="https://infisical.example.com", **options))
    assert caught.value.option == option


EVERYTHING = {
    "token": "t", "jwt": "j", "client_id": "c", "client_secret": "s", "username": "u", "password": "p",
    "identity_id": "i", "jwt_path": "/j", "client_cert": "/c", "client_key": "/k", "organization_slug": "o",
    "environment": "prod",
}  # fmt: skip
FOR_ALL = {"client_cert", "client_key", "organization_slug", "environment", "host_auth_method"}


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("universal_auth", {"client_id", "client_secret"}),
        ("jwt_auth", {"identity_id", "jwt_path"}),
        ("gcp_auth", {"identity_id"}),
        ("ldap_auth", {"identity_id", "username", "password"}),
    ],
)
def test_host_gets_only_the_options_of_its_method(method: str, kept: set[str]) -> None:
    chosen = host_login.select_options({**EVERYTHING, "host_auth_method": method, "auth_method": "token"})
    assert chosen.pop("auth_method") == method
    assert set(chosen) == kept | FOR_ALL


@pytest.mark.parametrize("identity", ["shared", "per_host"])
def test_certificate_that_proves_the_controllers_identity_stays(identity: str) -> None:
    given = {**EVERYTHING, "host_auth_method": "jwt_auth", "identity": identity, "auth_method": "tls_cert_auth"}
    strip = host_login.strip_login if identity == "per_host" else host_login.select_options
    assert not {"client_cert", "client_key"} & set(strip(given))
    chosen = host_login.select_options({**given, "host_auth_method": "tls_cert_auth"})
    assert set(chosen) >= {"client_cert", "client_key"}


def test_own_identity_keeps_the_certificate_for_tls_and_no_proof() -> None:
    given = {"identity": "per_host", "host_auth_method": "universal_auth", "auth_method": "oidc_auth"}
    chosen = host_login.strip_login({**EVERYTHING, **given, "held_identity": {}})
    assert chosen.pop("auth_method") == "universal_auth"
    assert set(chosen) == FOR_ALL | {"identity"}


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ({"auth_method": "aws_auth"}, "aws_auth"),
        ({"auth_method": "token", "host_auth_method": "gcp_auth"}, "gcp_auth"),
        ({"auth_method": "aws_auth", "identity": "per_host"}, "universal_auth"),
        ({"auth_method": "aws_auth", "identity": "per_host", "host_auth_method": "jwt_auth"}, "jwt_auth"),
        ({}, "universal_auth"),
    ],
)
def test_method_of_the_host_differs_from_the_controllers(arguments: dict[str, str], method: str) -> None:
    assert host_login.get_method(arguments) == method


def test_pods_token_is_the_default_of_kubernetes_auth() -> None:
    settings = host_login.make_settings(
        {"url": "https://infisical.example.com", "auth_method": "kubernetes_auth", "identity_id": IDENTITY}
    )
    assert settings.jwt_path == "/var/run/secrets/kubernetes.io/serviceaccount/token"
    host_login.check_login(settings)


# Syncs with new grants


class Cycles:
    """Reports of syncs, by job, in the order in which they run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **outcomes: list[Mapping[str, Any]]) -> None:
        self.ran: list[tuple[str, float]] = []
        self.now = 1000.0
        self.outcomes = outcomes
        monkeypatch.setattr(agent_jobs, "list_jobs", lambda: list(outcomes))
        monkeypatch.setattr(agent_jobs, "sync_now", self.sync)
        monkeypatch.setattr(agent_jobs.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(agent_jobs.time, "sleep", self.sleep)

    def sync(self, job: str) -> CycleReport:
        self.ran.append((job, self.now))
        self.now += 1
        return CycleReport(job, ended="2026-01-15T10:30:00Z", **self.outcomes[job].pop(0))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


OK = {"counts": {"created": 1, "unchanged": 0}}
EMPTY = {"counts": {"created": 0, "unchanged": 0}}
REFUSED = {"conclusion": "forbidden", "problem": "No."}
GUARDED = {"conclusion": "guard", "problem": "Empty."}
DOWN = {"conclusion": "unreachable", "problem": "Down."}


@pytest.mark.parametrize("first", [EMPTY, REFUSED, GUARDED])
def test_sync_that_a_new_grant_explains_is_repeated(monkeypatch: pytest.MonkeyPatch, first: Mapping[str, Any]) -> None:
    cycles = Cycles(monkeypatch, a=[first, OK], b=[OK])
    grants = agent_jobs.Grants(1010.0)
    result = agent_jobs.sync_all(["a", "b"], grants)
    assert cycles.ran == [("a", 1000.0), ("b", 1001.0), ("a", 1010.0)]
    assert result["reports"]["a"]["counts"]["created"] == 1
    assert grants.describe() == " (a: twice, because the grants were new)"


@pytest.mark.parametrize(("first", "visible_at"), [(OK, 1010.0), (DOWN, 1010.0), (REFUSED, 1000.0), (EMPTY, 0.0)])
def test_sync_that_grants_do_not_explain_runs_once(
    monkeypatch: pytest.MonkeyPatch, first: Mapping[str, Any], visible_at: float
) -> None:
    cycles = Cycles(monkeypatch, a=[first])
    try:
        agent_jobs.sync_all(["a"], agent_jobs.Grants(visible_at))
    except InfisicalError as error:
        assert "twice" not in str(error)
    assert cycles.ran == [("a", 1000.0)]


def test_sync_that_is_refused_twice_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Cycles(monkeypatch, a=[REFUSED, REFUSED])
    with pytest.raises(InfisicalError, match="twice, because the grants were new"):
        agent_jobs.sync_all(["a"], agent_jobs.Grants(1010.0))


def test_sync_waits_for_changed_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles = Cycles(monkeypatch, a=[EMPTY])
    agent_jobs.sync_all(["a"], agent_jobs.Grants(1015.0, is_change=True))
    assert cycles.ran == [("a", 1015.0)]


def test_wait_for_grants_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    cycles = Cycles(monkeypatch, a=[OK])
    agent_jobs.sync_all(["a"], agent_jobs.Grants(1e9, is_change=True))
    assert cycles.ran == [("a", 1060.0)]


def test_note_of_an_own_identity_has_its_id() -> None:
    options: dict[str, Any] = {
        "url": "https://infisical.example.com", "identity": "per_host", "client_secret": "s",
    }  # fmt: skip
    given = {"identity_id": IDENTITY, "client_id": "own", "client_secret_id": "c", "expires_at": 9}
    for method, client_id in (("universal_auth", "own"), ("jwt_auth", "")):
        settings = host_login.make_settings({**options, "host_auth_method": method}, given)
        found = host_login.describe_identity(settings, {**given, "client_id": client_id})
        assert (found.identity_id, found.client_id, found.auth_method) == (IDENTITY, client_id, method)
