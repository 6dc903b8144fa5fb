# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identities of hosts on the test server: a run that is interrupted at any request leaves a working host."""

from __future__ import annotations

import contextlib
import itertools
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
    GuardStopped,
    InfisicalError,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Settings
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.grants import (
    Grant,
    from_permissions,
    normalize,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.held import NOTHING, HeldIdentity
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.identities.host import (
    UNIVERSAL_AUTH,
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
    """The end of the controller's process, or of the module on the host."""


class Host:
    """A host: the credential that its agent uses, its note, and its jobs. The module ends after `steps` steps."""

    def __init__(self, url: str, name: str = "web1") -> None:
        self.name = name
        self.url = url
        self.client_id = self.secret = ""
        self.note = NOTHING
        self.steps = 3
        self.grants: tuple[Grant, ...] = ()

    def install(self, arguments: dict[str, Any], grants: tuple[Grant, ...]) -> None:
        """Store what the module gets. Like the module, remove the note before the credential is stored."""
        given = arguments["host_identity"]
        secret = arguments.get("client_secret", self.secret)
        note = HeldIdentity(
            given["identity_id"], given["client_id"], given["client_secret_id"], given["expires_at"], UNIVERSAL_AUTH
        )
        self.grants = grants
        for step, change in enumerate((
            {"note": self.note if note == self.note else NOTHING},
            {"client_id": given["client_id"], "secret": secret},
            {"note": note},
        )):  # fmt: skip
            if step == self.steps:
                raise Killed
            vars(self).update(change)

    def sync(self) -> None:
        """Log in, list the folders of the jobs, and revoke the token. Raises InfisicalError."""
        api = connect(Settings(url=self.url, client_id=self.client_id, client_secret=self.secret))
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


class Turn:
    """What a task on the controller and the module on the host do, in four steps."""

    def __init__(self, server: DevServer, host: Host, grants: tuple[Grant, ...] = APP) -> None:
        self.server, self.host, self.grants = server, host, grants
        self.api = connect(settings(server))
        self.api.tokens.current()
        self.worked = self.delivered = False

    def plan(self, now: float | None = None) -> None:
        identities = IdentityApi(self.api)
        entries = [read_entry(one) for one in identities.identities("p")]
        mine = [one for one in entries if one is not None and one.host == self.host.name]
        desired = make_desired(self.host.name, UNIVERSAL_AUTH, self.grants)
        wanted = HostEntry("", self.host.name, desired=describe_state(desired))
        self.held = self.host.note
        self.planned = make_plan(mine, self.held, wanted, now=now or time.time(), ttl=TTL)
        self.work = Provisioner(identities, "p", wanted, desired, TTL)

    def prepare(self) -> None:
        self.delivery = self.work.prepare(self.planned, self.held)

    def deliver(self) -> None:
        self.delivered = True
        self.host.install(hand_over(self.delivery), self.grants)
        if self.delivery.granted is not None:
            self.server.advance(16)
        if self.planned.entry is None or self.planned.adjusts or self.planned.mints:
            with contextlib.suppress(InfisicalError):
                self.host.sync()
                self.worked = True

    def finish_adjusting(self) -> None:
        """Finish a run that has delivered only jobs, so that the host keeps its credential and its note."""
        self.delivered = True
        self.finish()

    def finish(self) -> None:
        self.work.finish(self.planned, self.delivery, installed=self.delivered, worked=self.worked)
        self.api.transport.close()


def run(
    server: DevServer,
    host: Host,
    grants: tuple[Grant, ...] = APP,
    *,
    prepare: Callable[[Api], None] = lambda api: None,
    deliver: bool = True,
    now: float | None = None,
) -> tuple[str, ...]:
    """Run all steps, and return the changes."""
    turn = Turn(server, host, grants)
    prepare(turn.api)
    turn.plan(now)
    turn.prepare()
    if deliver:
        turn.deliver()
    turn.finish()
    return (*turn.planned.reasons, *describe_removal(turn.delivery.removed))


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
    entry = read_entry(identity)
    assert entry is not None
    assert not entry.rotation
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
    host.note = NOTHING


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


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("killed", ["host", "host and controller"])
def test_host_killed_while_storing_its_credential_works(
    server: DevServer, admin: IdentityApi, name: str, steps: int, killed: str
) -> None:
    has_identity, change, grants, _least = CHANGES[name]
    host = Host(server.url)
    if has_identity:
        run(server, host)
    change(server, host)
    for host.steps in (steps, 0, 0, 0, 0, 0):
        turn = Turn(server, host, grants)
        turn.plan()
        turn.prepare()
        with pytest.raises(Killed):
            turn.deliver()
        if killed == "host":
            turn.delivered = False
            turn.finish()
        server.advance(16)
        if host.secret:
            host.sync()
        if host.note.client_secret_id:
            valid = {one.id for one in admin.client_secrets(host.note.identity_id) if not one.revoked}
            assert host.note.client_secret_id in valid
    host.steps = 3
    run(server, host, grants)
    check_end(server, admin, host, grants)


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
    vars(before).update(vars(host))
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


def test_protected_identity_is_refused_before_any_change(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    stored = HostEntry("", "web1", desired="universal_auth:x")
    spare = admin.create("p", "host:web1", sorted(stored.metadata().items()))
    admin.change("p", spare.id, delete_protection=True)
    server.clear_requests()
    with pytest.raises(GuardStopped, match="protected from deletion"):
        run(server, host, DB)
    assert {one["method"] for one in server.requests() if "login" not in one["path"]} == {"GET"}


def test_interruptions_without_a_note_keep_the_working_secret(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    lose_note(server, host)
    for _turn in range(6):
        run(server, host, deliver=False)
        host.sync()
    run(server, host)
    check_end(server, admin, host, APP)


STEPS = ("plan", "prepare", "deliver", "finish")


def test_overlapping_runs_are_completed_by_the_next_run(server: DevServer, admin: IdentityApi) -> None:
    for places in itertools.combinations(range(8), 4):
        server.reset()
        host = Host(server.url)
        run(server, host)
        rotate_late(server, host)
        turns = [Turn(server, host), Turn(server, host)]
        left = [list(STEPS), list(STEPS)]
        for number in range(8):
            which = int(number in places)
            getattr(turns[which], left[which].pop(0))()
        reasons = run(server, host)
        try:
            check_end(server, admin, host, APP)
        except (InfisicalError, AssertionError) as error:
            raise AssertionError(f"the second run had the steps {places}; the next run changed {reasons}") from error


def test_client_secrets_of_running_runs_are_kept(server: DevServer) -> None:
    host = Host(server.url)
    run(server, host)
    rotate_late(server, host)
    turns = [Turn(server, host) for _number in range(3)]
    for turn in turns:
        turn.plan()
        turn.prepare()
    for turn in turns:
        turn.deliver()
        assert turn.worked


def test_secret_that_is_created_during_the_revocation_is_kept(server: DevServer) -> None:
    host = Host(server.url)
    run(server, host)
    rotate_late(server, host)
    first, second = Turn(server, host), Turn(server, host)
    second.plan()
    first.plan()
    first.prepare()
    first.deliver()
    send = first.api.transport.send

    def send_late(call: Any, *arguments: Any) -> Any:
        if call.method == "GET" and call.path.endswith("/client-secrets"):
            first.api.transport.send = send  # type: ignore[method-assign]
            second.prepare()
        return send(call, *arguments)

    first.api.transport.send = send_late  # type: ignore[method-assign]
    first.finish()
    second.deliver()
    assert second.worked


def test_mark_that_another_run_has_erased_is_restored(server: DevServer, admin: IdentityApi) -> None:
    host = Host(server.url)
    run(server, host)
    adjusting = Turn(server, host, DB)
    adjusting.plan()
    rotate_late(server, host)
    rotating = Turn(server, host)
    rotating.plan()
    rotating.prepare()
    adjusting.prepare()
    adjusting.finish_adjusting()
    rotating.deliver()
    rotating.finish()
    assert "interrupted" in run(server, host)[-1]
    check_end(server, admin, host, APP)


def test_lost_response_keeps_the_secret_of_another_run(server: DevServer) -> None:
    host = Host(server.url)
    run(server, host)
    rotate_late(server, host)
    first, second = Turn(server, host), Turn(server, host)
    for turn in (first, second):
        turn.plan()
    first.prepare()
    server.arm("cut_before", after_handling=True, method="POST", path="client-secrets$")
    second.prepare()
    first.deliver()
    assert first.worked


@pytest.mark.parametrize("status", ["lost", "conflict"])
def test_login_method_is_added_despite_an_error(server: DevServer, admin: IdentityApi, status: str) -> None:
    host = Host(server.url)
    desired = make_desired("web1", UNIVERSAL_AUTH, APP)
    stored = HostEntry("", "web1", desired=describe_state(desired))
    identity = admin.create("p", "host:web1", sorted(stored.metadata().items()))
    path = "/universal-auth/identities/[^/]+$"
    if status == "lost":
        server.arm("cut_before", after_handling=True, method="POST", path=path)
        run(server, host)
    else:
        turn = Turn(server, host)
        turn.plan()
        send = turn.api.transport.send

        def send_late(call: Any, *arguments: Any) -> Any:
            if call.method == "POST" and call.path.endswith(identity.id):
                turn.api.transport.send = send  # type: ignore[method-assign]
                admin.attach_method(identity.id, UNIVERSAL_AUTH, desired.methods[UNIVERSAL_AUTH])
            return send(call, *arguments)

        turn.api.transport.send = send_late  # type: ignore[method-assign]
        turn.prepare()
        turn.deliver()
        turn.finish()
    check_end(server, admin, host, APP)
