# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identities of hosts on the test server: a run that is interrupted at any request leaves a working host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.api import Api, connect
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.identities import IdentityApi
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    CredentialsRejected,
    Forbidden,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    from_permissions,
    normalize,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import (
    UNIVERSAL_AUTH,
    HeldNote,
    HostEntry,
    describe_removal,
    describe_state,
    make_desired,
    make_plan,
    read_entry,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.plan import SLUG
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.provision import (
    Provisioner,
    hand_over,
)
from contract.targets import Controlled
from dev_server.client import DevServer

pytestmark = pytest.mark.kinds("2026-07")

DAY = 86_400
TTL = 90 * DAY
APP, DB = (Grant("prod", "/app"),), (Grant("prod", "/app"), Grant("prod", "/db", True))
SEED: dict[str, Any] = {
    "projects": [
        {
            "id": "p",
            "name": "P",
            "slug": "p",
            "environments": [{"slug": "prod", "name": "Prod"}],
            "folders": [{"environment": "prod", "path": path} for path in ("/app", "/db")],
            "secrets": [
                {"environment": "prod", "path": "/app", "key": "A", "value": "1"},
                {"environment": "prod", "path": "/db", "key": "B", "value": "2"},
            ],
        }
    ],
    "identities": [
        {"name": "fleet", "client_id": "fleet", "client_secret": "fleet-secret", "permissions": {"p": "admin"}}
    ],
}


class Killed(BaseException):
    """The end of the controller's process."""


class Host:
    """A host: the credential that its agent uses, its note, and its jobs."""

    def __init__(self, url: str, name: str = "web1") -> None:
        self.name = name
        self.url = url
        self.secret = ""
        self.note = HeldNote()
        self.grants: tuple[Grant, ...] = ()

    def install(self, arguments: dict[str, Any], grants: tuple[Grant, ...]) -> None:
        """Store what the module gets: first the credential, then the note."""
        given = arguments["host_identity"]
        self.secret = arguments.get("client_secret", self.secret)
        self.note = HeldNote(given["identity_id"], given["client_id"], given["client_secret_id"], UNIVERSAL_AUTH,
                             given["expires_at"])  # fmt: skip
        self.grants = grants

    def sync(self) -> None:
        """Log in, list the folders of the jobs, and revoke the token. Raises InfisicalError."""
        api = connect(Settings(url=self.url, client_id=self.note.client_id, client_secret=self.secret))
        with contextlib.closing(api):
            for grant in self.grants:
                api.list_secrets(Location("p", grant.environment, grant.path))
        api.transport.close()


@pytest.fixture
def server(controlled: Controlled) -> DevServer:
    controlled.server.seed(SEED)
    return controlled.server


def settings(server: DevServer, **options: Any) -> Settings:
    usual = Settings(url=server.url, client_id="fleet", client_secret="fleet-secret", project_id="p")
    return replace(usual, server_error_wait=0.0, connection_wait=0.0, **options)


@pytest.fixture
def admin(server: DevServer) -> Iterator[IdentityApi]:
    api = connect(settings(server))
    yield IdentityApi(api)
    api.transport.close()


def kill_at(api: Api, number: int, when: Literal["before", "after"]) -> None:
    """End the controller's process before or after its request with this number."""
    send, count = api.transport.send, iter(range(1, 1000))

    def send_or_die(*arguments: Any) -> Any:
        at_end = next(count) == number
        if at_end and when == "before":
            raise Killed
        answer = send(*arguments)
        if at_end:
            raise Killed
        return answer

    api.transport.send = send_or_die  # type: ignore[method-assign, assignment]


def run(
    server: DevServer,
    host: Host,
    grants: tuple[Grant, ...] = APP,
    *,
    prepare: Callable[[Api], None] = lambda api: None,
    deliver: bool = True,
    now: float | None = None,
) -> tuple[str, ...]:
    """Do what a task on the controller and the module on the host do, and return the changes."""
    api = connect(settings(server))
    api.tokens.current()
    prepare(api)
    identities = IdentityApi(api)
    entries = [read_entry(one.id, dict(one.metadata)) for one in identities.identities("p")]
    mine = [one for one in entries if one is not None and one.host == host.name]
    desired = make_desired(host.name, UNIVERSAL_AUTH, grants)
    wanted = HostEntry("", host.name, desired=describe_state(desired))
    plan = make_plan(mine, host.note, wanted, now=now or time.time(), ttl=TTL)
    work = Provisioner(identities, "p", wanted, desired, TTL)
    delivery = work.prepare(plan, host.note)
    worked = False
    if deliver:
        host.install(hand_over(delivery), grants)
        if delivery.granted is not None:
            server.advance(16)
        if plan.entry is None or plan.adjusts or plan.mints:
            with contextlib.suppress(InfisicalError):
                host.sync()
                worked = True
    work.finish(plan, delivery, installed=deliver, worked=worked)
    api.transport.close()
    return (*plan.reasons, *describe_removal(delivery.removed))


def check_end(server: DevServer, admin: IdentityApi, host: Host, grants: tuple[Grant, ...]) -> None:
    """Check that the host has one identity, exactly its grants and exactly one valid client secret."""
    server.advance(16)
    host.sync()
    [identity] = admin.identities("p", f"host:{host.name}")
    assert identity.id == host.note.identity_id
    [privilege] = [one for one in admin.privileges("p", identity.id) if one.slug == SLUG]
    found = from_permissions(admin.privilege(privilege.id).permissions or ())
    assert (found.grants, found.foreign) == (normalize(grants), ())
    valid = [one.id for one in admin.client_secrets(identity.id) if one.seconds_left(time.time()) > 0]
    assert valid == [host.note.client_secret_id]
    entry = read_entry(identity.id, dict(identity.metadata))
    assert entry is not None
    assert not entry.rotating
    assert run(server, host, grants) == ()


def test_first_run_sends_four_requests(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    assert run(server, host) == ("the identity host:web1 is created",)
    asked = [one for one in server.requests() if one["method"] != "GET"]
    # Beside its login, the controller creates the identity, its login method, its grants and its client secret. The
    # host logs in and revokes its token.
    assert len(asked) == 1 + 4 + 2
    check_end(server, admin, host, APP)


def test_unchanged_host_needs_only_the_list(server: DevServer) -> None:
    host = Host(server.url)
    run(server, host)
    server.clear_requests()
    assert run(server, host) == ()
    assert [one["method"] for one in server.requests()] == ["POST", "GET"]


def test_grants_follow_the_jobs(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    first = host.note
    for grants in (DB, (Grant("prod", "/db"),), APP):
        assert run(server, host, grants) == ("the identity host:web1 is adjusted to the jobs of the host",)
        check_end(server, admin, host, grants)
    assert host.note == first


def test_old_grants_are_kept_until_the_delivery(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    run(server, host, (Grant("prod", "/db"),), deliver=False)
    server.advance(16)
    host.sync()
    run(server, host, (Grant("prod", "/db"),))
    check_end(server, admin, host, (Grant("prod", "/db"),))


def test_host_cannot_read_other_folders(server: DevServer) -> None:
    host = Host(server.url)
    run(server, host)
    api = connect(Settings(url=server.url, client_id=host.note.client_id, client_secret=host.secret))
    assert [one.key for one in api.list_secrets(Location("p", "prod", "/app")).secrets] == ["A"]
    assert not api.list_secrets(Location("p", "prod", "/db")).secrets
    assert [one.key for one in api.list_secrets(Location("p", "prod", "/"), recursive=True).secrets] == ["A"]
    with pytest.raises(Forbidden):
        IdentityApi(api).identities("p")
    api.transport.close()


def rotate_late(server: DevServer, host: Host) -> None:
    """Let two thirds of the lifetime of the host's client secret pass."""
    host.note = host.note._replace(expires_at=int(time.time()) + 29 * DAY)


def lose_note(server: DevServer, host: Host) -> None:
    host.note = HeldNote(client_id=host.note.client_id)


def change_nothing(server: DevServer, host: Host) -> None:
    pass


Change = Callable[[DevServer, Host], None]
CHANGES: dict[str, tuple[bool, Change, tuple[Grant, ...], int]] = {
    "first run": (False, change_nothing, APP, 5),
    "other jobs": (True, change_nothing, DB, 5),
    "fewer jobs": (True, change_nothing, (Grant("prod", "/db"),), 6),
    "rotation": (True, rotate_late, APP, 6),
    "rotation with other jobs": (True, rotate_late, DB, 10),
    "lost note": (True, lose_note, APP, 9),
}
"""Changes by name: whether the host had an identity before, what happens before the run, the grants, and the least
number of the controller's requests."""


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_run_leaves_a_working_host(
    server: DevServer, admin: IdentityApi, name: str, when: Literal["before", "after"]
) -> None:
    has_identity, change, grants, least = CHANGES[name]
    for number in range(1, 100):
        server.reset()
        host = Host(server.url)
        if has_identity:
            run(server, host)
        change(server, host)

        def prepare(api: Api, number: int = number) -> None:
            kill_at(api, number, when)

        try:
            run(server, host, grants, prepare=prepare)
        except Killed:
            pass
        else:
            break
        server.advance(16)
        if host.secret:
            host.sync()
        run(server, host, grants)
        check_end(server, admin, host, grants)
    assert number > least


def test_repeated_interruptions_keep_few_client_secrets(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    rotate_late(server, host)
    for _turn in range(8):
        run(server, host, deliver=False)
        host.sync()
    valid = [one for one in admin.client_secrets(host.note.identity_id) if not one.revoked]
    assert len(valid) <= 5
    run(server, host)
    check_end(server, admin, host, APP)


@pytest.mark.parametrize("path", ["/identities$", "/universal-auth/identities/[^/]+$", "privilege$", "client-secrets$"])
def test_lost_response_is_made_up_for(server: DevServer, admin: IdentityApi, path: str) -> None:
    host = Host(server.url)
    server.arm("cut_before", after_handling=True, method="POST", path=path)
    run(server, host)
    check_end(server, admin, host, APP)


def test_failed_sync_keeps_the_old_client_secret(server: DevServer, admin: IdentityApi) -> None:
    host, before = Host(server.url), Host(server.url)
    run(server, host)
    before.note, before.secret, before.grants = host.note, host.secret, host.grants
    rotate_late(server, host)
    server.arm("status", status=403, error="PermissionDenied", path="/api/v4/secrets", times=1)
    run(server, host)
    assert host.secret != before.secret
    before.sync()
    host.sync()
    assert any("interrupted" in reason for reason in run(server, host))
    check_end(server, admin, host, APP)
    with pytest.raises(CredentialsRejected):
        before.sync()


def test_spare_identity_is_deleted_after_a_sync(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    stored = HostEntry("", "web1", desired="universal_auth:x")
    admin.create("p", "host:web1", sorted(stored.metadata().items()))
    assert run(server, host)[-1].endswith("is removed, because it is not used")
    check_end(server, admin, host, APP)
