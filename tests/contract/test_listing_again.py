# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an unchanged listing again without sending or parsing it, with or without ETags."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client import parsing
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.listing import Store
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.client.parsing import Listing
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.answers import Validator
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import InfisicalError
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.model import Location, Secret
from contract.targets import ENVIRONMENT, PROJECT, Controlled, Target, error_of

LIST = {"method": "GET", "path": "/secrets$|/secrets/raw$"}
NO_SUCH = Validator('"another"', "0" * 64)


@pytest.fixture(params=["with ETags", "without ETags"])
def etags(request: pytest.FixtureRequest, controlled: Controlled) -> bool:
    """Return whether the server sends ETags."""
    if request.param == "without ETags":
        controlled.server.arm("no_etag", times=None)
    return request.param == "with ETags"


def _first(store: Store, **reading: bool) -> Listing:
    listing = store.list_changes(Validator(), **reading)
    assert listing is not None
    return listing


def test_unchanged_listing_is_not_returned_again(controlled: Controlled, etags: bool) -> None:
    for n in range(20):
        controlled.put(f"NAME_{n}", "value")
    store = controlled.remote()
    first = _first(store)
    assert len(first.secrets) == 20
    assert bool(first.validator.etag) is etags
    controlled.server.clear_requests()
    assert store.list_changes(first.validator) is None
    assert controlled.sent() == [("GET", 304 if etags else 200)]


def test_changed_listing_has_a_new_etag_or_digest(controlled: Controlled, etags: bool) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    first = _first(store)
    controlled.put("A", "two")
    second = store.list_changes(first.validator)
    assert second is not None
    assert [(one.key, one.value) for one in second.secrets] == [("A", "two")]
    assert second.validator != first.validator
    assert store.list_changes(second.validator) is None


def test_deleted_secret_or_changed_import_causes_a_new_listing(controlled: Controlled, etags: bool) -> None:
    controlled.put("A", "one")
    controlled.put("B", "one")
    store = controlled.remote()
    known = _first(store, include_imports=True).validator
    controlled.server.delete_secret(PROJECT, ENVIRONMENT, "/", "B")
    changed = store.list_changes(known, include_imports=True)
    assert changed is not None
    assert [one.key for one in changed.secrets] == ["A"]


def test_etag_of_another_listing_gets_a_full_listing(target: Target) -> None:
    store = target.remote()
    store.api.list_secrets(store.location)
    for known in (NO_SUCH, Validator()):
        listing = store.list_changes(known)
        assert listing is not None
        assert listing.validator.digest not in ("", NO_SUCH.digest)


def test_digest_is_compared_if_the_server_forgets_its_etags(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    known = _first(store).validator
    assert known.etag
    assert store.list_changes(Validator('"another"', known.digest)) is None
    assert store.list_changes(Validator(known.etag)) is None
    assert [status for _method, status in controlled.sent()][-2:] == [200, 304]


def test_unchanged_empty_folder_is_reported_as_unchanged(controlled: Controlled, etags: bool) -> None:
    store = controlled.remote(path="/")
    first = _first(store)
    assert first.secrets == ()
    assert store.list_changes(first.validator) is None


@pytest.mark.parametrize("known", [None, Validator("", "0" * 64)], ids=["nothing known", "no ETag known"])
def test_not_modified_response_without_a_validator_is_an_error(controlled: Controlled, known: Validator | None) -> None:
    store = controlled.remote(api_version="v3" if controlled.kind == "2024" else "v4")
    controlled.server.arm("redirect", status=304, times=2, **LIST)
    error = error_of(store.api.list_changes, store.location, known)
    assert (error.conclusion, error.status) == ("redirected", 304)


def test_error_response_is_raised_even_with_a_validator(controlled: Controlled, etags: bool) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    known = _first(store).validator
    for status, conclusion in ((422, "invalid"), (302, "redirected")):
        controlled.server.disarm()
        controlled.server.arm("status", status=status, **LIST)
        assert error_of(store.list_changes, known).conclusion == conclusion
    controlled.server.disarm()
    controlled.server.arm("malformed", **LIST)
    # Half of the body with the same ETag: the digest differs, and half of the JSON is not valid JSON.
    assert error_of(store.list_changes, Validator("", known.digest)).conclusion == "not_json"


def test_retried_request_sends_the_same_validator(controlled: Controlled) -> None:
    controlled.put("A", "one")
    store = controlled.remote()
    known = _first(store).validator
    controlled.server.clear_requests()
    controlled.server.arm("status", status=503, **LIST)
    assert store.list_changes(known) is None
    assert controlled.sent() == [("GET", 503), ("GET", 304)]


def test_repr_of_a_validator_shows_neither_etag_nor_digest(controlled: Controlled) -> None:
    controlled.put("A", "one")
    listing = _first(controlled.remote())
    assert listing.validator.etag and listing.validator.digest
    assert listing.validator.etag.strip('"') not in repr(listing)
    assert listing.validator.digest not in repr(listing)


def test_listed_secrets_have_their_project_id(target: Target) -> None:
    store = target.remote()
    store.api.write("create", store.location, Secret("A", "one"))
    [listed] = store.listing().secrets
    assert (listed.key, listed.project_id) == ("A", target.scope.project_id)


ROW: dict[str, Any] = {
    "id": "1", "environment": "dev", "version": 3, "type": "shared", "secretKey": "A", "secretValue": "one",
    "secretComment": "why", "createdAt": "then", "updatedAt": "now", "secretPath": "/x", "tags": [],
    "secretValueHidden": False, "secretMetadata": [],
}  # fmt: skip
SCOPE = Location("p", "dev", "/app")
ABSENT = ...  # no JSON value is this


def row(**changed: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ROW, **changed}.items() if value is not ABSENT}


ROWS = {
    "the common one": row(),
    "without tags and metadata": row(tags=ABSENT, secretMetadata=ABSENT, secretValueHidden=ABSENT),
    "tags and metadata of null": row(tags=None, secretMetadata=None),
    "with tags": row(tags=[{"slug": "web"}, {"slug": "db"}]),
    "with metadata": row(secretMetadata=[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}]),
    "hidden": row(secretValueHidden=True),
    "hidden by a text": row(secretValueHidden="true"),
    "hidden by a text that says no": row(secretValueHidden="false"),
    "hidden by a number": row(secretValueHidden=1),
    "hidden by zero": row(secretValueHidden=0),
    "hidden by null": row(secretValueHidden=None),
    "a placeholder without a flag": row(secretValueHidden=ABSENT, secretValue="<hidden-by-infisical>"),
    "a placeholder that is said to be shown": row(secretValue="<hidden-by-infisical>"),
    "rotated": row(isRotatedSecret=True),
    "rotated by a text": row(isRotatedSecret="true"),
    "rotated by a number": row(isRotatedSecret=1),
    "rotated by null": row(isRotatedSecret=None),
    "not rotated": row(isRotatedSecret=False),
    "no value": row(secretValue=None),
    "no value at all": row(secretValue=ABSENT),
    "an empty value": row(secretValue=""),
    "no path": row(secretPath=ABSENT),
    "an empty path and environment": row(secretPath="", environment=""),
    "null for texts": row(secretComment=None, createdAt=None, updatedAt=None, id=None),
    "a number for an id": row(id=7),
    "no version": row(version=ABSENT),
    "a text for a version": row(version="3"),
    "a boolean for a version": row(version=True),
    "a negative version": row(version=-3),
}


@pytest.mark.parametrize("shown", ROWS.values(), ids=ROWS)
def test_listing_row_is_parsed_like_a_single_secret(shown: dict[str, Any]) -> None:
    [secret] = parsing.parse_secrets([shown], SCOPE)
    assert secret == parsing.parse_secret(shown, SCOPE)
    assert repr(secret) == repr(parsing.parse_secret(shown, SCOPE))
    assert secret.key == "A"
    assert (secret.value is None) == (secret.hidden or shown.get("secretValue") is None)
    clear = shown.get("secretValueHidden", False) is False and shown.get("secretValue") != "<hidden-by-infisical>"
    assert secret.hidden is not clear
    assert secret.rotated is (shown.get("isRotatedSecret") not in (None, False))
    assert not isinstance(secret.version, bool) and secret.version == (3 if shown.get("version") == 3 else 0)


@pytest.mark.parametrize(
    "wrong",
    [{"secretKey": 1}, {"secretKey": ABSENT}, {"secretValue": 1}, {"tags": "web"}, {"tags": ""}, {"tags": ["web"]},
     {"secretMetadata": {}}, {"secretMetadata": [1]}, {"id": True}, {"id": {"one": 1}}, {"secretComment": ["one"]},
     {"environment": {"slug": "one"}}, {"updatedAt": 1.5}, {"tags": [{"slug": {"one": 1}}]},
     {"secretMetadata": [{"key": "k", "value": {"one": 1}}]}],
    ids=str,
)  # fmt: skip
def test_malformed_row_error_omits_the_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(InfisicalError) as caught:
        parsing.parse_secrets([ROW, row(**wrong)], SCOPE)
    assert caught.value.conclusion == "not_json"
    assert "one" not in str(caught.value)
