# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing, reading and deleting one secret: idempotent on every kind of server, even with other writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.remote import WriteResult
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import (
    Known,
    Secret,
    canonical_value,
    check_name,
)
from contract.targets import ENVIRONMENT, PROJECT, Controlled, Target, error_of

A = Secret("A", "one")


def test_secret_is_created_updated_and_deleted_idempotently(target: Target) -> None:
    store = target.remote()
    report = store.put(A)
    assert (report.action, report.before) == ("create", None)
    assert report.after is not None
    assert (report.after.version, report.approval_id, report.warnings) == (1, "", ())
    assert store.put(A).action is None
    changed = store.put(A._replace(value="two"))
    assert changed.action == "update"
    assert changed.after is not None
    assert changed.after.version == 2
    found = store.find("A")
    assert found is not None
    assert (found.value, found.version) == ("two", 2)
    assert store.remove("A").action == "delete"
    assert store.remove("A").action is None
    assert store.find("A") is None


def test_check_mode_reports_the_change_without_writing(target: Target) -> None:
    store = target.remote()
    assert store.put(A, check=True).action == "create"
    assert store.find("A") is None
    store.put(A)
    assert store.put(A, check=True).action is None
    assert store.put(A._replace(value="two"), check=True).action == "update"
    assert store.remove("A", check=True).action == "delete"
    assert store.remove("B", check=True).action is None
    found = store.find("A")
    assert found is not None
    assert (found.value, found.version) == ("one", 1)
    if isinstance(target, Controlled):
        assert [method for method in target.methods() if method != "GET"] == ["POST"]


def test_value_is_set_only_on_creation_with_on_create(target: Target) -> None:
    store = target.remote()
    assert store.put(A, update_value="on_create").action == "create"
    assert store.put(A._replace(value="two"), update_value="on_create").action is None
    report = store.put(A._replace(value="two", comment="why"), update_value="on_create")
    assert report.action == "update"
    found = store.find("A")
    assert found is not None
    assert (found.value, found.comment) == ("one", "why")


# Values in tasks, for servers that trim and servers that do not.
VALUES = {
    "outer blanks": "  a b  ",
    "tabs": "\ta\tb\t",
    "no-break spaces": "\u00a0a\u00a0",
    "byte-order mark": "\ufeffa",
    "next line, which is not trimmed": "\x85a\x85",
    "separators, which are not trimmed": "\x1ca\x1f",
    "final newline": "a\n",
    "final newlines": "a\n\n",
    "Windows newline": "a\r\n",
    "newline and blank": "a\n ",
    "many lines": "-----BEGIN-----\nx\n-----END-----\n",
    "control characters": "a\x01\x02\x1b\x7fb",
    "empty": "",
    "nothing but a newline": "\n",
    "nothing but blanks": "   ",
    "template": "{{ lookup('env', 'HOME') }}",
    "JSON": '{"a": [1, 2]}',
    "number": "1.10",
    "Unicode": "ü\U0001f511 ключ",
    "quotes": "\"'\\`$(x)",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_value_that_the_server_trimmed_is_unchanged_next_time(target: Target, value: str) -> None:
    store = target.remote()
    assert store.put(Secret("A", value)).action == "create"
    assert store.put(Secret("A", value)).action is None
    found = store.find("A")
    assert found is not None
    assert found.value == canonical_value(value)
    if isinstance(target, Controlled):
        assert [one["version"] for one in target.stored("A")] == [1]
    assert store.put(Secret("A", value + "x")).action == "update"
    assert store.put(Secret("A", value)).action == "update"
    assert store.put(Secret("A", value)).action is None


def test_largest_value_is_read_back_byte_for_byte(target: Target) -> None:
    value = "v" * 1_047_999 + "w"
    store = target.remote()
    assert store.put(Secret("A", value)).action == "create"
    assert store.put(Secret("A", value)).action is None
    found = store.find("A")
    assert found is not None
    assert found.value == value


def test_value_over_the_size_limit_changes_nothing(target: Target) -> None:
    store = target.remote()
    store.put(A)
    error = error_of(store.put, A._replace(value="v" * 1_100_000))
    assert error.conclusion == "too_large"
    found = store.find("A")
    assert found is not None
    assert found.value == "one"


NAMES = {
    "lower case": "db_password",
    "dots and dashes": "db.pass-word",
    "blank inside": "db password",
    "Unicode": "schlüssel\U0001f511",
    "percent": "a%2Fb",
    "question mark and hash": "a?b#c&d=e",
    "plus": "a+b",
    "100 characters": "N" * 100,
}


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_with_any_characters_can_be_written_and_deleted(target: Target, name: str) -> None:
    store = target.remote()
    assert store.put(Secret(name, "one")).action == "create"
    assert store.put(Secret(name, "one")).action is None
    assert store.put(Secret(name, "two")).action == "update"
    assert [(one.key, one.value) for one in store.listing().secrets] == [(name, "two")]
    assert store.remove(name).action == "delete"
    assert store.remove(name).action is None


@pytest.mark.kinds("2024")
def test_name_with_a_slash_is_a_single_secret(target: Target) -> None:
    store = target.remote()
    assert store.put(Secret("a/b", "one")).action == "create"
    assert store.put(Secret("a/b", "one")).action is None
    assert store.remove("a/b").action == "delete"


@pytest.mark.kinds("2026-07")
def test_error_about_a_name_with_a_slash_quotes_the_name(target: Target) -> None:
    error = error_of(target.remote().put, Secret("a/b", "one"))
    assert error.conclusion == "invalid"
    assert "'a/b'" in str(error)


# Names that cannot be in a path: too long, the name of the batch route, and names that HTTP libraries resolve.
BATCH_NAMES = {"101": "n" * 101, "500": "n" * 500, "batch": "batch", "dot": ".", "dots": ".."}


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("name", BATCH_NAMES.values(), ids=BATCH_NAMES)
def test_name_that_cannot_be_in_a_path_uses_the_batch_route(target: Target, name: str) -> None:
    store = target.remote()
    store.put(Secret("OTHER", "other"))
    assert store.put(Secret(name, "one"), check=True).action == "create"
    assert store.put(Secret(name, "one")).action == "create"
    assert store.put(Secret(name, "one")).action is None
    assert store.put(Secret(name, "two")).action == "update"
    found = store.find(name)
    assert found is not None
    assert found.value == "two"
    assert store.remove(name).action == "delete"
    assert store.remove(name).action is None
    assert [one.key for one in store.listing().secrets] == ["OTHER"]


def test_name_over_500_characters_is_refused_before_sending(target: Target) -> None:
    error = error_of(check_name, "n" * 501)
    assert error.conclusion == "configuration"


def test_spaces_around_a_name_do_not_create_a_second_secret(target: Target) -> None:
    store = target.remote()
    store.put(Secret(check_name(" A "), "one"))
    assert store.put(A).action is None
    assert [one.key for one in store.listing().secrets] == ["A"]


# Concurrent writers


def test_secret_created_by_a_concurrent_writer_is_updated(controlled: Controlled) -> None:
    store = controlled.remote()
    quicker = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A", "value": "theirs"}
    controlled.server.arm("write_first", method="POST", path="/secrets/", secret=quicker)
    report = store.put(A)
    assert report.action == "update"
    assert [one["value"] for one in controlled.stored("A")] == ["one"]
    assert controlled.methods("/secrets/(raw/)?A")[-3:] == ["POST", "GET", "PATCH"]


def test_value_of_a_concurrent_writer_is_not_written_again(controlled: Controlled) -> None:
    quicker = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A", "value": "one"}
    controlled.server.arm("write_first", method="POST", path="/secrets/", secret=quicker)
    assert controlled.remote().put(A).action is None
    assert [one["version"] for one in controlled.stored("A")] == [1]


def test_on_create_keeps_the_value_of_a_concurrent_writer(controlled: Controlled) -> None:
    quicker = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A", "value": "theirs"}
    controlled.server.arm("write_first", method="POST", path="/secrets/", secret=quicker)
    report = controlled.remote().put(A, update_value="on_create")
    assert report.action is None
    assert [(one["value"], one["version"]) for one in controlled.stored("A")] == [("theirs", 1)]


@pytest.mark.kinds("2026-07")
def test_comment_update_does_not_overwrite_the_value(
    controlled: Controlled,
) -> None:
    controlled.put("A", "read")
    rotated = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A", "value": "rotated"}
    controlled.server.arm("write_first", method="PATCH", path="/secrets/", secret=rotated)
    report = controlled.remote().put(Secret("A", "mine", comment="new"), update_value="on_create")
    assert report.action == "update"
    assert [(one["value"], one["comment"]) for one in controlled.stored("A")] == [("rotated", "new")]


@pytest.mark.kinds("2024", "2026-07")
def test_absent_state_accepts_a_missing_folder(controlled: Controlled) -> None:
    assert controlled.remote(path="/nowhere").remove("A").action is None
    assert error_of(controlled.remote(environment="nowhere").remove, "A").conclusion == "scope_missing"


def test_secret_deleted_by_a_concurrent_writer_is_created_again(controlled: Controlled) -> None:
    store = controlled.remote()
    store.put(A)
    gone = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A"}
    controlled.server.arm("delete_first", method="PATCH", path="/secrets/", secret=gone)
    report = store.put(A._replace(value="two"))
    assert report.action == "create"
    assert [one["value"] for one in controlled.stored("A")] == ["two"]
    assert controlled.methods("/secrets/(raw/)?A")[-3:] == ["PATCH", "GET", "POST"]


def test_deletion_by_a_concurrent_writer_is_not_an_error(controlled: Controlled) -> None:
    store = controlled.remote()
    store.put(A)
    gone = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A"}
    controlled.server.arm("delete_first", method="DELETE", path="/secrets/", secret=gone)
    assert store.remove("A").action is None
    assert controlled.stored("A") == []


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("name", ["batch", "n" * 200])
def test_batch_only_name_of_a_concurrent_writer_is_updated(controlled: Controlled, name: str) -> None:
    place = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": name}
    controlled.server.arm("write_first", method="POST", path="/secrets/", secret={**place, "value": "theirs"})
    assert controlled.remote().put(Secret(name, "one")).action == "update"
    controlled.server.arm("delete_first", method="PATCH", path="/secrets/", secret=place)
    assert controlled.remote().put(Secret(name, "two")).action == "create"
    assert [one["value"] for one in controlled.stored(name)] == ["two"]


@pytest.mark.kinds("2024", "2026-07")
def test_missing_folder_is_created_with_a_minimum_of_requests(controlled: Controlled) -> None:
    store = controlled.remote(path="/new/folder", create_path=True)
    assert store.put(A).action == "create"
    # On 2024, each missing route (of secrets, projects and folders) is requested once.
    assert len(controlled.server.requests()) == {"2026-07": 5, "2024": 8}[controlled.kind]


# Approvals, hidden values, identities that are not allowed to read


@pytest.mark.kinds("2026-07")
def test_write_awaiting_approval_is_not_reported_as_stored(controlled: Controlled, tmp_path: Path) -> None:
    state_file = str(tmp_path / "state.json")
    store = controlled.remote(path="/guarded", state_file=state_file)
    report = store.put(A)
    approvals = controlled.server.state()["approvals"]
    assert [one["id"] for one in approvals] == [report.approval_id]
    assert (report.action, report.after) == ("create", None)
    assert controlled.stored("A", "/guarded") == []
    assert store.state is not None
    assert not store.state.holds("A", "one")
    controlled.put("B", "old", "/guarded")
    update = store.put(Secret("B", "new"))
    assert (update.action, update.after and update.after.value) == ("update", "old")
    removal = store.remove("B")
    assert (removal.action, removal.after and removal.after.version) == ("delete", 1)
    assert len({report.approval_id, update.approval_id, removal.approval_id}) == 3
    assert [one["value"] for one in controlled.stored("B", "/guarded")] == ["old"]


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("name", ["batch", "n" * 101])
def test_batch_awaiting_approval_returns_the_approval_id(controlled: Controlled, name: str) -> None:
    report = controlled.remote(path="/guarded").put(Secret(name, "one"))
    assert report.approval_id == controlled.server.state()["approvals"][0]["id"]
    assert controlled.stored(name, "/guarded") == []


@pytest.mark.kinds("2026-07")
def test_hidden_value_is_returned_as_none(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote("hidden")
    assert error_of(store.find, "A").conclusion == "forbidden"
    found = store.find("A", view_values=False)
    assert found is not None
    assert (found.hidden, found.value) == (True, None)
    [listed] = store.listing().secrets
    assert (listed.hidden, listed.value) == (True, None)
    assert store.put(Secret("A", "one", comment="why"), update_value="on_create").action == "update"
    assert [(one["value"], one["comment"]) for one in controlled.stored("A")] == [("one", "why")]


@pytest.mark.kinds("2026-07")
def test_hidden_value_is_rewritten_without_a_state_file(controlled: Controlled, tmp_path: Path) -> None:
    controlled.put("A", "one")
    store = controlled.remote("hidden")
    for _run in range(2):
        report = store.put(A)
        assert report.action == "update"
        assert "state_file" in report.warnings[0]
    store = controlled.remote("hidden", state_file=str(tmp_path / "state.json"))
    assert store.put(A).action == "update"
    report = store.put(A)
    assert (report.action, report.warnings) == (None, ())
    # Somebody else changes the secret, which its version shows.
    controlled.put("A", "another")
    assert store.put(A).action == "update"
    assert store.put(A).action is None
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


@pytest.mark.kinds("2026-07")
def test_unreadable_secret_is_compared_with_the_state_file(controlled: Controlled, tmp_path: Path) -> None:
    def put(secret: Secret, **options: Any) -> WriteResult:
        controlled.server.clear_requests()
        refused = {"status": 403, "error": "ForbiddenReadSecretError", "message": "You are not allowed to readValue"}
        controlled.server.arm("status", **refused, method="GET", path="/A$")
        store = controlled.remote("hidden", state_file=str(tmp_path / "state.json"))
        return store.put(secret, **options)

    assert put(A).action == "create"
    assert put(A, check=True).action is None
    unchanged = put(A._replace(comment=""))
    assert (unchanged.action, unchanged.warnings, unchanged.after and unchanged.after.version) == (None, (), 1)
    assert controlled.sent() == [("GET", 403), ("GET", 200)]
    assert put(A._replace(comment="why")).action == "update"
    controlled.put("A", "by a person")
    assert put(A).action == "update"
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_known_secret_is_written_without_reading_it_again(controlled: Controlled) -> None:
    store = controlled.remote(api_version="v3" if controlled.kind == "2024" else "v4")
    assert store.put(A, known=Known(None)).action == "create"
    assert controlled.methods() == ["POST"]
    stored = store.find("A")
    controlled.server.clear_requests()
    assert store.put(A, known=Known(stored)).action is None
    assert store.put(A._replace(value="two"), known=Known(stored)).action == "update"
    assert controlled.methods() == ["PATCH"]
    assert store.put(A._replace(value="three"), known=Known(None)).action == "update"
    assert controlled.methods() == ["PATCH", "POST", "GET", "PATCH"]
    assert store.remove("A", known=Known(stored)).action == "delete"
    assert controlled.methods()[4:] == ["DELETE"]
    assert store.remove("A", known=Known(stored)).action is None
    assert store.put(A, known=Known(stored._replace(value=None) if stored else None)).action == "create"
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_write_only_identity_always_writes_and_causes_a_warning(controlled: Controlled) -> None:
    store = controlled.remote("writer")
    first, second = store.put(A), store.put(A)
    assert (first.action, second.action) == ("create", "update")
    assert "state_file" in first.warnings[0]
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_write_only_identity_is_idempotent_with_a_state_file(controlled: Controlled, tmp_path: Path) -> None:
    store = controlled.remote("writer", state_file=str(tmp_path / "state.json"))
    assert store.put(A, check=True).action is not None
    assert store.put(A).action == "create"
    assert store.put(A, check=True).action is None
    report = store.put(A)
    assert (report.action, report.warnings) == (None, ())
    assert store.put(A._replace(value="two")).action == "update"
    assert store.put(A._replace(value="two")).action is None
    assert [(one["value"], one["version"]) for one in controlled.stored("A")] == [("two", 2)]
    # Somebody else deletes the secret. It is written again although it is in the state file.
    controlled.server.delete_secret(PROJECT, ENVIRONMENT, "/", "A")
    assert store.put(A._replace(value="two")).action == "create"


def test_write_only_identity_sets_an_on_create_value_once(controlled: Controlled) -> None:
    store = controlled.remote("writer")
    assert store.put(A, update_value="on_create").action == "create"
    report = store.put(A._replace(value="two"), update_value="on_create")
    assert (report.action, report.warnings) == (None, ())
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_delete_only_identity_deletes_a_secret_once(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote("deleter")
    assert store.remove("A").action == "delete"
    assert store.remove("A").action is None


def test_deletion_removes_the_secret_from_the_state_file(controlled: Controlled, tmp_path: Path) -> None:
    store = controlled.remote(state_file=str(tmp_path / "state.json"))
    store.put(A)
    assert store.state is not None
    assert store.state.holds("A", "one", 1)
    store.remove("A")
    assert not store.state.holds("A", "one")


@pytest.mark.parametrize("who", ["viewer", "nobody"])
def test_forbidden_write_names_the_missing_permission(controlled: Controlled, who: str) -> None:
    error = error_of(controlled.remote(who).put, A)
    assert error.conclusion == "forbidden"
    assert "'Create' on 'Secrets'" in str(error)


# Secrets that Infisical rotates


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("who", ["admin", "hidden"])
@pytest.mark.parametrize("check", [True, False])
def test_rotated_secret_is_neither_updated_nor_deleted(controlled: Controlled, who: str, check: bool) -> None:
    controlled.put("A", "rotated", rotated=True)
    store = controlled.remote(who)
    for write in (lambda: store.put(A, check=check), lambda: store.remove("A", check=check)):
        error = error_of(write)
        assert error.conclusion == "guard"
        assert "rotates the value of A" in str(error) and "overwrite_rotated: true" in str(error)
    assert "PATCH" not in controlled.methods() and "DELETE" not in controlled.methods()
    store.overwrite_rotated = True
    assert store.put(A, check=check).action == "update"
    assert store.remove("A", check=check).action == "delete"


@pytest.mark.kinds("2026-07")
def test_comment_of_rotated_secret_is_written_without_its_value(controlled: Controlled) -> None:
    controlled.put("A", "one", rotated=True)
    rotation = {"project": PROJECT, "environment": ENVIRONMENT, "path": "/", "key": "A", "value": "rotated meanwhile"}
    controlled.server.arm("write_first", method="PATCH", path="/secrets/", secret=rotation)
    assert controlled.remote().put(A).action is None
    assert controlled.remote().put(A._replace(comment="why")).action == "update"
    stored = [(one["value"], one["comment"]) for one in controlled.stored("A")]
    assert stored == [("rotated meanwhile", "why")]
    other = A._replace(value="other")
    assert controlled.remote().put(other, update_value="on_create").action is None


# Comment, tags, metadata


def test_comment_is_changed_without_the_value_and_kept_if_unset(target: Target) -> None:
    store = target.remote()
    store.put(A._replace(comment="first"))
    assert store.put(A).action is None
    assert store.put(A._replace(comment="first")).action is None
    assert store.put(A._replace(comment=" first ")).action is None
    assert store.put(A._replace(comment="second")).action == "update"
    store.put(A._replace(value="two"))
    found = store.find("A")
    assert found is not None
    assert (found.value, found.comment) == ("two", "second")
    assert store.put(A._replace(value="two", comment="")).action == "update"
    assert store.put(A._replace(value="two", comment="")).action is None


@pytest.mark.kinds("2024", "2026-07")
def test_tags_are_set_changed_and_removed_idempotently(controlled: Controlled) -> None:
    store = controlled.remote()
    for tags in (("database",), ("web", "database"), ()):
        wanted = A._replace(tags=tags)
        assert store.put(wanted).action == ("create" if tags == ("database",) else "update")
        assert store.put(wanted).action is None
        [stored] = controlled.stored("A")
        assert sorted(stored["tags"]) == sorted(tags)
    assert store.put(A).action is None


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("check", [True, False])
def test_unknown_tag_error_lists_the_existing_tags(controlled: Controlled, check: bool) -> None:
    error = error_of(controlled.remote().put, A._replace(tags=("none", "web")), check=check)
    assert isinstance(error, ConfigurationError)
    assert error.option == "tags"
    assert "no tag none" in str(error)
    assert "database, web" in str(error)
    assert controlled.stored("A") == []


@pytest.mark.kinds("2026-07")
def test_metadata_are_set_changed_and_removed_idempotently(target: Target) -> None:
    store = target.remote()
    assert store.put(A._replace(key="NEW", metadata=(("owner", "me"),))).warnings == ()
    for metadata in ((("owner", "me"),), (("owner", "you"), ("tier", "1")), ()):
        wanted = A._replace(metadata=metadata)
        assert store.put(wanted).action in ("create", "update")
        assert store.put(wanted).action is None
        assert store.put(A).action is None
        found = store.find("A")
        assert found is not None
        assert found.metadata == metadata


@pytest.mark.kinds("2026-07")
def test_encrypted_metadata_stay_encrypted(controlled: Controlled) -> None:
    def stored() -> list[tuple[str, str, bool]]:
        [secret] = controlled.stored("A")
        return sorted((row["key"], row["value"], row["isEncrypted"]) for row in secret["metadata"])

    store = controlled.remote()
    secret = A._replace(metadata=(("owner", "me"), ("pin", "1234")))
    for wanted in (secret, secret._replace(encrypted_metadata=("pin",))):
        assert store.put(wanted).action in ("create", "update")
        assert store.put(wanted).action is None
    assert stored() == [("owner", "me", False), ("pin", "1234", True)]
    assert store.put(secret).action is None
    for metadata in ((("owner", "you"), ("pin", "1234")), (("pin", "5678"), ("tier", "1"))):
        report = store.put(A._replace(metadata=metadata))
        assert (report.action, report.after and report.after.encrypted_metadata) == ("update", ("pin",))
        assert stored() == [(key, value, key == "pin") for key, value in metadata]
    store.put(A._replace(value="two"))
    assert [row[2] for row in stored()] == [True, False]
    store.put(A._replace(metadata=()))
    assert store.put(A._replace(metadata=(("pin", "1"),))).action == "update"
    assert stored() == [("pin", "1", False)]


@pytest.mark.kinds("2024")
def test_unsupported_metadata_are_ignored_with_a_warning(target: Target) -> None:
    store = target.remote()
    wanted = A._replace(metadata=(("owner", "me"),))
    first, second = store.put(wanted), store.put(wanted)
    assert (first.action, second.action) == ("create", None)
    for report in (first, second):
        assert [warning for warning in report.warnings if "metadata" in warning]


# Missing folders


@pytest.mark.kinds("2024", "2026-07")
def test_create_path_creates_the_folder_with_its_parents(target: Target) -> None:
    store = target.remote(path=target.below("x/y/z"), create_path=True)
    assert store.put(A, check=True).action == "create"
    assert target.remote(path=target.below("x")).problem() is not None
    assert store.put(A).action == "create"
    assert store.put(A).action is None
    assert [one.key for one in store.listing().secrets] == ["A"]


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("check", [True, False])
def test_missing_folder_error_suggests_create_path(target: Target, check: bool) -> None:
    error = error_of(target.remote(path=target.below("x")).put, A, check=check)
    assert error.conclusion == "scope_missing"
    assert target.below("x") in str(error)
    assert "create_path: true" in str(error)


@pytest.mark.parametrize("check", [True, False])
def test_missing_environment_error_lists_the_environments(controlled: Controlled, check: bool) -> None:
    for create_path in (False, True):
        store = controlled.remote(environment="none", create_path=create_path)
        error = error_of(store.put, A, check=check)
        assert error.conclusion == "scope_missing"
        assert "has no environment 'none'" in str(error)
        assert "dev, prod" in str(error)


def test_missing_project_error_explains_the_project_id(controlled: Controlled) -> None:
    error = error_of(controlled.remote(project="none").put, A)
    assert error.conclusion == "scope_missing"
    assert "Project 'none' does not exist" in str(error)
    assert "not the name or slug" in str(error)


# Lost responses to a create request


@pytest.mark.parametrize(
    ("lost", "wait"),
    [
        ({"kind": "cut_before", "after_handling": True}, 10),
        ({"kind": "cut_middle"}, 10),
        ({"kind": "status", "status": 503, "after_handling": True}, 30),
    ],
)
def test_lost_create_request_is_looked_up_before_a_retry(
    controlled: Controlled, lost: dict[str, Any], wait: float
) -> None:
    controlled.server.arm(**lost, method="POST", path="/secrets/")
    report = controlled.remote().put(A)
    assert report.action == "create"
    assert [(one["value"], one["version"]) for one in controlled.stored("A")] == [("one", 1)]
    methods = controlled.methods("/secrets/(raw/)?A")
    assert methods[methods.index("POST") :] == ["POST", "GET"]
    assert controlled.clock.waits == [wait]


def test_create_request_that_never_arrived_is_retried(controlled: Controlled) -> None:
    controlled.server.arm("cut_before", method="POST", path="/secrets/")
    assert controlled.remote().put(A).action == "create"
    assert [(one["value"], one["version"]) for one in controlled.stored("A")] == [("one", 1)]
    methods = controlled.methods("/secrets/(raw/)?A")
    assert methods[methods.index("POST") :] == ["POST", "GET", "POST"]
    assert controlled.clock.waits == [10]


def test_lost_create_request_updates_another_writers_secret(controlled: Controlled) -> None:
    controlled.server.arm("cut_before", method="POST", path="/secrets/")
    controlled.clock.meanwhile = lambda: controlled.put("A", "theirs")
    assert controlled.remote().put(A).action == "update"
    assert [one["value"] for one in controlled.stored("A")] == ["one"]


def test_deletion_with_a_lost_response_is_reported_as_a_change(controlled: Controlled) -> None:
    store = controlled.remote()
    store.put(A)
    controlled.server.arm("cut_before", after_handling=True, method="DELETE", path="/secrets/")
    assert store.remove("A").action == "delete"


@pytest.mark.kinds("2024", "2026-07")
def test_batch_with_a_lost_response_is_looked_up_before_a_retry(controlled: Controlled) -> None:
    controlled.server.arm("cut_before", after_handling=True, method="POST", path="/secrets/")
    name = "n" * 200
    assert controlled.remote().put(Secret(name, "one")).action == "create"
    assert [(one["value"], one["version"]) for one in controlled.stored(name)] == [("one", 1)]


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "cut_before"}])
def test_create_that_fails_twice_waits_once_and_raises_an_error(controlled: Controlled, fault: dict[str, Any]) -> None:
    controlled.server.arm(**fault, method="POST", path="/secrets/", times=5)
    error = error_of(controlled.remote().put, A)
    assert error.conclusion in ("server_error", "unreachable")
    assert controlled.methods("/secrets/(raw/)?A").count("POST") == 2
    assert controlled.clock.waits == ([30] if "status" in fault else [10])


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "cut_before", "after_handling": True}])
def test_lost_create_request_of_write_only_identity_is_retried(controlled: Controlled, fault: dict[str, Any]) -> None:
    controlled.server.arm(**fault, method="POST", path="/secrets/")
    report = controlled.remote("writer").put(A)
    assert report.action is not None
    assert [one["value"] for one in controlled.stored("A")] == ["one"]
