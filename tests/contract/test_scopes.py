# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading locations, folders and projects: the same results from every kind of server, or a clear error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import merge
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.preflight import (
    probe,
    visible_projects,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import (
    ConfigurationError,
    CredentialsRejected,
    TokenRejected,
    Unreachable,
)
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Secret, refuse_ambiguous
from contract.targets import ENVIRONMENT, PROJECT, SEED, Controlled, Target, error_of

# Listing


def test_listing_has_value_version_path_and_comment(target: Target) -> None:
    store = target.remote()
    wanted = {f"KEY_{number}": f"value {number}" for number in range(25)}
    for key, value in wanted.items():
        store.api.write("create", store.location, Secret(key, value, comment=f"about {key}"))
    found = merge(store.listing()).secrets
    assert {key: secret.value for key, secret in found.items()} == wanted
    one = found["KEY_7"]
    assert (one.version, one.comment, one.secret_path) == (1, "about KEY_7", target.scope.secret_path)
    assert one.id
    assert one.updated_at


def test_recursive_listing_has_all_folders_with_their_paths(controlled: Controlled) -> None:
    controlled.put("A", "root")
    controlled.put("B", "app", "/app")
    controlled.put("C", "db", "/app/db")
    listing = controlled.remote().listing(recursive=True)
    assert {(one.key, one.value, one.secret_path) for one in listing.secrets} == {
        ("A", "root", "/"),
        ("B", "app", "/app"),
        ("C", "db", "/app/db"),
    }
    below = controlled.remote(path="/app").listing(recursive=True)
    assert {one.key for one in below.secrets} == {"B", "C"}
    assert [one.key for one in controlled.remote().listing().secrets] == ["A"]


def test_name_in_several_folders_is_ambiguous_if_values_differ(controlled: Controlled) -> None:
    controlled.put("SAME", "x", "/app")
    controlled.put("SAME", "x", "/app/db")
    found = merge(controlled.remote().listing(recursive=True))
    assert (found.secrets["SAME"].secret_path, found.warnings) == ("/app", ())
    controlled.put("SAME", "canary-0815")
    controlled.put("OTHER", "y", "/app/db")
    found = merge(controlled.remote().listing(recursive=True))
    assert set(found.secrets) == {"OTHER"}
    refuse_ambiguous(found.ambiguous, ["OTHER", "NOT_THERE"])
    error = error_of(refuse_ambiguous, found.ambiguous, ["OTHER", "SAME"])
    assert error.conclusion == "ambiguous"
    assert "'SAME'" in str(error)
    assert "secret_path" in str(error)
    assert "canary-0815" not in str(error)


def test_newest_duplicate_in_a_folder_is_used(controlled: Controlled) -> None:
    controlled.put("TWICE", "old")
    # Time stamps have milliseconds; the server's clock is moved so that one is newer.
    controlled.server.advance(5)
    controlled.put("TWICE", "new", repeat=True)
    found = merge(controlled.remote().listing())
    assert found.secrets["TWICE"].value == "new"
    assert "'TWICE' twice" in found.warnings[0]
    store = controlled.remote()
    assert store.remove("TWICE").action == "delete"
    assert controlled.stored("TWICE") == []


@pytest.fixture
def importing(controlled: Controlled) -> Controlled:
    """Create /importing, which imports /app and then / of prod. Its secrets override prod's, which override /app's."""
    seed = {**SEED, "projects": [{**SEED["projects"][0], "imports": [
        {"environment": ENVIRONMENT, "path": "/importing", "from_environment": ENVIRONMENT, "from_path": "/app"},
        {"environment": ENVIRONMENT, "path": "/importing", "from_environment": "prod", "from_path": "/"},
    ]}]}  # fmt: skip
    controlled.server.seed(seed)
    for key in ("OWN", "FIRST"):
        controlled.put(key, f"{key} of app", "/app")
    controlled.put("BOTH", "of app", "/app")
    controlled.put("BOTH", "of prod", "/", "prod")
    controlled.put("OWN", "own", "/importing")
    return controlled


def test_own_secrets_override_imports_and_last_import_wins(importing: Controlled) -> None:
    found = merge(importing.remote(path="/importing").listing(include_imports=True)).secrets
    values = {key: (secret.value, secret.environment, secret.secret_path) for key, secret in found.items()}
    assert values == {
        "OWN": ("own", ENVIRONMENT, "/importing"),
        "FIRST": ("FIRST of app", ENVIRONMENT, "/app"),
        "BOTH": ("of prod", "prod", "/"),
    }


def test_imported_secrets_are_not_listed_without_include_imports(importing: Controlled) -> None:
    assert set(merge(importing.remote(path="/importing").listing()).secrets) == {"OWN"}


def test_imported_secret_is_found_only_with_include_imports(importing: Controlled) -> None:
    store = importing.remote(path="/importing")
    assert store.find("BOTH") is None
    found = store.find("BOTH", include_imports=True)
    assert found is not None
    assert found.value == "of prod"


def test_writing_an_imported_name_creates_a_secret_in_the_folder(importing: Controlled) -> None:
    store = importing.remote(path="/importing")
    assert store.put(Secret("BOTH", "mine")).action == "create"
    assert [one["value"] for one in importing.stored("BOTH", "/importing")] == ["mine"]
    assert store.put(Secret("BOTH", "mine")).action is None


def test_references_are_resolved_only_if_requested(controlled: Controlled) -> None:
    controlled.put("HOST", "db.example.com")
    controlled.put("USER", "me", "/app")
    controlled.put("URL", "pg://${dev.app.USER}@${HOST}/${NONE}")
    store = controlled.remote()
    raw, resolved = store.find("URL"), store.find("URL", expand_references=True)
    assert raw is not None
    assert resolved is not None
    assert raw.value == "pg://${dev.app.USER}@${HOST}/${NONE}"
    assert resolved.value == "pg://me@db.example.com/"
    assert merge(store.listing(expand_references=True)).secrets["URL"].value == "pg://me@db.example.com/"
    # Writing the reference again changes nothing.
    assert store.put(Secret("URL", "pg://${dev.app.USER}@${HOST}/${NONE}")).action is None


PEM = "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"
# A literal backslash and n, quotes, and line ends: in the server's quoted form, they cannot be distinguished.
ACCOUNT = '{\n  "private_key": "a\\nb"\n}'
QUOTED = {"skip_multiline_encoding": True}
EACH_2026 = pytest.mark.kinds("2026-07", "2026-10")


def requests_for_secrets(controlled: Controlled) -> int:
    found = len([entry for entry in controlled.server.requests("/secrets") if entry["method"] == "GET"])
    controlled.server.clear_requests()
    return found


@pytest.mark.kinds("2026-07")
@pytest.mark.parametrize("recursive", [False, True])
def test_multi_line_value_is_intact_through_a_reference(controlled: Controlled, recursive: bool) -> None:
    controlled.put("PEM", PEM)
    controlled.put("LINK", "${PEM}", **QUOTED)
    controlled.put("ACCOUNT", ACCOUNT)
    controlled.put("LINK_OF_ACCOUNT", "${ACCOUNT}", **QUOTED)
    controlled.put("STORED_SO", '"l1\\nl2"')
    store = controlled.remote()
    requests_for_secrets(controlled)
    found = merge(store.listing(expand_references=True, recursive=recursive))
    assert requests_for_secrets(controlled) == 2
    assert {key: secret.value for key, secret in found.secrets.items()} == {
        "PEM": PEM, "LINK": PEM, "ACCOUNT": ACCOUNT, "LINK_OF_ACCOUNT": ACCOUNT, "STORED_SO": '"l1\\nl2"',
    }  # fmt: skip
    [warning] = found.warnings
    assert ": LINK, LINK_OF_ACCOUNT." in warning and "skipMultilineEncoding" in warning
    assert "AAAA" not in warning


@pytest.mark.kinds("2026-07")
def test_multi_line_value_from_another_folder_is_intact(controlled: Controlled) -> None:
    controlled.put("ACCOUNT", ACCOUNT, "/app")
    controlled.put("LINK", "${dev.app.ACCOUNT}", **QUOTED)
    controlled.put("MIXED", "x\n${dev.app.ACCOUNT}", **QUOTED)
    for store in (controlled.remote(), controlled.remote(api_version="v4")):
        values = {key: one.value for key, one in merge(store.listing(expand_references=True)).secrets.items()}
        assert values["LINK"] == ACCOUNT
        found = store.find("LINK", expand_references=True)
        assert found is not None
        assert found.value == ACCOUNT
        assert "LINK" in store.warnings[0]
    # In a value with text around the reference, each \\n becomes a line end, with a warning.
    mixed = controlled.remote().overview("MIXED", expand_references=True, view_values=True)
    assert mixed.secrets[0].value == "x\n" + ACCOUNT.replace("\\n", "\n")
    assert "was replaced by a line end" in mixed.warnings[0]


LITERAL = '"server\\nport 1"'
OWN_QUOTES = '"server ${HOST}\\nport 1"'


@EACH_2026
@pytest.mark.parametrize("fields", [QUOTED, {}], ids=["encoded", "not encoded"])
@pytest.mark.parametrize("recursive", [False, True])
def test_quotes_that_belong_to_the_value_are_kept(
    controlled: Controlled, fields: dict[str, Any], recursive: bool
) -> None:
    controlled.put("HOST", "db.local")
    controlled.put("LITERAL", LITERAL)
    controlled.put("ELSEWHERE", LITERAL, "/app")
    controlled.put("OWN_QUOTES", OWN_QUOTES, **fields)
    controlled.put("TO_LITERAL", "${LITERAL}", **fields)
    controlled.put("TO_LINK", "${TO_LITERAL}", **fields)
    controlled.put("TO_ELSEWHERE", "${dev.app.ELSEWHERE}", **fields)
    stored = {
        "OWN_QUOTES": OWN_QUOTES.replace("${HOST}", "db.local"),
        **dict.fromkeys(("TO_LITERAL", "TO_LINK", "TO_ELSEWHERE"), LITERAL),
    }
    store = controlled.remote()
    requests_for_secrets(controlled)
    listing = store.listing(expand_references=True, recursive=recursive)
    found = {one.key: one.value for one in listing.secrets}
    assert {key: found[key] for key in stored} == stored
    assert listing.warnings == ()
    assert requests_for_secrets(controlled) <= (3 if fields else 1)
    for key, value in stored.items():
        one = store.find(key, expand_references=True)
        assert one is not None
        assert one.value == value
    assert store.warnings == []


@EACH_2026
def test_quoted_reference_to_a_multi_line_value_is_resolved(controlled: Controlled) -> None:
    controlled.put("PEM", PEM)
    controlled.put("LINK", 'key="${PEM}"', **QUOTED)
    controlled.put("WHOLE", '"${PEM}"', **QUOTED)
    controlled.put("CHAIN", "${STEP}", **QUOTED)
    controlled.put("STEP", "${dev.app.STEP}", **QUOTED)
    controlled.put("STEP", "${ACCOUNT}", "/app", **QUOTED)
    controlled.put("ACCOUNT", ACCOUNT, "/app", **QUOTED)
    values = {one.key: one.value for one in controlled.remote().listing(expand_references=True).secrets}
    assert values["LINK"] == f'key="{PEM}"'
    assert values["WHOLE"] == f'"{PEM}"'
    assert (values["STEP"], values["CHAIN"]) == (ACCOUNT, ACCOUNT)


@EACH_2026
def test_multi_line_value_with_many_references_is_read_once(controlled: Controlled) -> None:
    controlled.put("PEM", PEM, "/app")
    for number in range(5):
        controlled.put(f"LINK_{number}", "${dev.app.PEM}", **QUOTED)
    store = controlled.remote()
    requests_for_secrets(controlled)
    assert [one.value for one in store.listing(expand_references=True).secrets] == [PEM] * 5
    assert requests_for_secrets(controlled) == 3


@pytest.mark.kinds("2026-07")
def test_resolved_reference_without_quotes_takes_one_request(controlled: Controlled) -> None:
    controlled.put("PEM", PEM)
    controlled.put("PLAIN", "${PEM}")
    store = controlled.remote()
    requests_for_secrets(controlled)
    listing = store.listing(expand_references=True)
    assert merge(listing).secrets["PLAIN"].value == PEM
    assert (requests_for_secrets(controlled), listing.warnings) == (1, ())


@pytest.mark.kinds("2026-07")
def test_unresolved_reference_causes_a_warning_with_its_name(controlled: Controlled) -> None:
    controlled.server.use_profile("2026-10")
    controlled.put("URL", "canary-0815@${NONE}")
    controlled.put("ROUND", "${ROUND}")
    store = controlled.remote()
    [warning] = merge(store.listing(expand_references=True)).warnings
    assert ": ROUND, URL." in warning and "expand_references: false" in warning
    assert "canary-0815" not in warning
    assert merge(store.listing()).warnings == ()
    store.find("URL", expand_references=True)
    assert "URL" in store.warnings[0]
    listed = controlled.remote()
    controlled.put("L" * 101, "${NONE}")
    listed.find("L" * 101, expand_references=True)
    assert "L" * 101 in listed.warnings[0]


@pytest.mark.kinds("2026-07")
def test_reference_to_a_missing_secret_is_written_unchanged(controlled: Controlled) -> None:
    store = controlled.remote()
    assert store.put(Secret("URL", "x${NONE}")).action == "create"
    assert store.put(Secret("URL", "x${NONE}")).action is None
    assert [one["value"] for one in controlled.stored("URL")] == ["x${NONE}"]


@pytest.mark.kinds("2026-07")
def test_server_sends_no_values_unless_requested(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    [listed] = store.listing(view_values=False).secrets
    found = store.find("A", view_values=False)
    assert found is not None
    assert (listed.value, found.value) == (None, None)
    assert not any(entry["returned_values"] for entry in controlled.server.requests())


def test_secret_and_listing_require_one_request_each(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote(api_version="v3" if controlled.kind == "2024" else "v4")
    store.find("A")
    store.listing()
    assert controlled.sent() == [("GET", 200), ("GET", 200)]
    assert controlled.logins() == 1


def test_overview_is_sorted_and_has_values_only_if_requested(
    importing: Controlled,
) -> None:
    store = importing.remote(path="/importing")
    merged_view = store.overview(include_imports=True)
    places = [(one.environment, one.secret_path, one.key) for one in merged_view.secrets]
    assert places == [("dev", "/app", "FIRST"), ("dev", "/importing", "OWN"), ("prod", "/", "BOTH")]
    whole = importing.remote().overview(recursive=True, include_imports=True, view_values=True)
    places = [(one.environment, one.secret_path, one.key) for one in whole.secrets]
    assert places == sorted(places)
    assert {("dev", "/app", "OWN"), ("dev", "/importing", "OWN"), ("prod", "/", "BOTH")} <= set(places)
    assert len(places) == len(set(places))
    assert all(one.value for one in whole.secrets)
    if importing.kind == "2026-07":
        assert [one.value for one in merged_view.secrets] == [None, None, None]


def test_overview_of_one_name_has_only_that_secret(controlled: Controlled) -> None:
    controlled.put("A", "root")
    controlled.put("A", "app", "/app")
    controlled.put("B", "app", "/app")
    store = controlled.remote()
    assert [one.secret_path for one in store.overview("A").secrets] == ["/"]
    assert [one.secret_path for one in store.overview("A", recursive=True).secrets] == ["/", "/app"]
    assert store.overview("B").secrets == ()


# The probe


def options_of(controlled: Controlled, **others: Any) -> dict[str, Any]:
    given = {"client_id": "admin-id", "client_secret": "admin-secret", "project_id": PROJECT}
    return {"url": controlled.server.url, **given, **others}


def test_probe_reports_that_the_login_was_accepted(controlled: Controlled) -> None:
    for options in ({}, {"auth_method": "token", "token": "fixed-token-of-admin"}):
        found = probe(options_of(controlled, **options))
        assert (found.reachable, found.error) == (True, None)
        assert (found.api_url, found.status_message) == (controlled.server.url, "Ok")


def test_probe_distinguishes_rejected_login_and_unreachable(controlled: Controlled) -> None:
    wrong = probe(options_of(controlled, client_secret="wrong"))
    assert (wrong.reachable, type(wrong.error)) == (True, CredentialsRejected)
    assert controlled.logins() == 1
    token = probe(options_of(controlled, auth_method="token", token="wrong"))
    assert (token.reachable, type(token.error)) == (True, TokenRejected)
    missing = probe(options_of(controlled, client_id=""))
    assert (missing.reachable, isinstance(missing.error, ConfigurationError)) == (True, True)
    down = probe(options_of(controlled, url="http://127.0.0.1:1"), clock=controlled.clock)
    assert (down.reachable, type(down.error)) == (False, Unreachable)
    wrong_url = probe(options_of(controlled, url="https://host/path?query"))
    assert (wrong_url.reachable, type(wrong_url.error)) == (False, ConfigurationError)


# Folders


@pytest.mark.kinds("2024", "2026-07")
def test_folder_is_created_with_its_parents_and_removed(target: Target) -> None:
    store = target.remote(path=target.below("x/y"))
    assert store.put_folder(check=True) is True
    assert store.put_folder() is True
    assert store.put_folder() is False
    assert target.remote(path=target.below("x")).put_folder() is False
    assert store.remove_folder(check=True) is True
    assert store.remove_folder() is True
    assert store.remove_folder() is False
    assert target.remote(path=target.below("none/none")).remove_folder() is False


@pytest.mark.kinds("2024", "2026-07")
def test_folder_that_is_not_empty_is_removed_only_with_force(target: Target) -> None:
    outer, inner = target.remote(path=target.below("x")), target.remote(path=target.below("x/y"))
    inner.put_folder()
    inner.put(Secret("A", "one"))
    for check in (True, False):
        error = error_of(outer.remove_folder, check=check)
        assert isinstance(error, ConfigurationError)
        assert error.option == "force"
        assert "1 secret and 1 folder" in str(error)
    assert inner.find("A") is not None
    assert outer.remove_folder(force=True) is True
    assert outer.problem() is not None


@pytest.mark.kinds("2026-07")
def test_folder_with_hidden_secrets_is_kept_without_force(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    controlled.put("A", "one", "/x")
    store = controlled.remote(path="/x")
    whole = store.api.list_secrets
    # A server lists a folder that the identity is not allowed to read as an empty one.
    monkeypatch.setattr(
        store.api, "list_secrets", lambda *scope, **options: replace(whole(*scope, **options), secrets=())
    )
    error = error_of(store.remove_folder)
    assert isinstance(error, ConfigurationError)
    assert error.option == "force"
    assert len(controlled.stored("A", "/x")) == 1
    assert store.remove_folder(force=True) is True


def test_root_folder_cannot_be_created_or_removed(controlled: Controlled) -> None:
    for action in (controlled.remote().put_folder, controlled.remote().remove_folder):
        error = error_of(action)
        assert isinstance(error, ConfigurationError)
        assert error.option == "secret_path"
    assert controlled.server.requests() == []


@pytest.mark.kinds("2024", "2026-07")
@pytest.mark.parametrize("check", [True, False])
def test_folder_error_lists_the_existing_environments(controlled: Controlled, check: bool) -> None:
    error = error_of(controlled.remote(environment="none", path="/x").put_folder, check=check)
    assert error.conclusion == "scope_missing"
    assert "dev, prod" in str(error)


@pytest.mark.kinds("2024", "2026-07")
def test_forbidden_folder_error_names_the_permission(controlled: Controlled) -> None:
    error = error_of(controlled.remote("viewer", path="/x").put_folder)
    assert error.conclusion == "forbidden"
    assert "'Secret Folders'" in str(error)


# Projects


def test_project_is_returned_with_its_environments(target: Target) -> None:
    [project] = visible_projects(target.api(), target.scope.project_id)
    assert project.id == target.scope.project_id
    assert target.scope.environment in [environment.slug for environment in project.environments]


def test_projects_are_listed_or_error_suggests_project_id(controlled: Controlled) -> None:
    if controlled.kind == "2024":
        error = error_of(visible_projects, controlled.api())
        assert error.conclusion == "forbidden"
        assert "Set project_id" in str(error)
        # It refuses the list in the words in which it refuses a revoked token, so that one more login is tried.
        assert controlled.logins() <= 2
    else:
        [project] = visible_projects(controlled.api())
        assert (project.id, project.name) == (PROJECT, "Contract")
        assert [(one.slug, one.name) for one in project.environments] == [
            ("dev", "Development"),
            ("prod", "Production"),
            ("staging", "Staging"),
        ]


def test_identity_without_projects_sees_none(controlled: Controlled) -> None:
    if controlled.kind == "2024":
        assert error_of(visible_projects, controlled.api("stranger"), PROJECT).conclusion == "forbidden"
    else:
        assert visible_projects(controlled.api("stranger")) == []
        assert error_of(visible_projects, controlled.api("stranger"), PROJECT).conclusion == "scope_missing"


def test_missing_project_error_quotes_the_project_id(target: Target) -> None:
    error = error_of(visible_projects, target.api(), "none")
    assert error.conclusion in ("scope_missing", "invalid")
    assert "none" in str(error)


def test_existing_location_has_no_problem(target: Target) -> None:
    assert target.remote().problem() is None


def test_forbidden_location_is_not_reported_as_missing(controlled: Controlled) -> None:
    store = controlled.remote("nobody", path="/app")
    assert error_of(store.listing).conclusion == "forbidden"
    assert store.problem() is None


def test_error_about_a_location_names_the_location(controlled: Controlled) -> None:
    scope = replace(controlled.scope, secret_path="/app")
    error = error_of(controlled.api("nobody").list_secrets, scope)
    assert f"project {PROJECT}, environment {ENVIRONMENT}, path /app" in str(error)
