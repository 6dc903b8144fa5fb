# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, values, paths, URLs and options: valid and invalid input, and errors that quote no secrets."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any, Callable

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import model
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.errors import ConfigurationError

# ECMA-262, 12.2 and 12.3: TAB, VT, FF, ZWNBSP and all of category Zs are white space; LF, CR, LS and PS end lines.
ECMASCRIPT_SPACE = {"\t", "\v", "\f", "\ufeff", "\n", "\r", "\u2028", "\u2029"} | {
    chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) == "Zs"
}


def test_trim_removes_exactly_ecmascript_white_space() -> None:
    trimmed = {chr(point) for point in range(sys.maxunicode + 1) if model.trim(chr(point) + "a" + chr(point)) == "a"}
    assert trimmed == ECMASCRIPT_SPACE


@pytest.mark.parametrize("kept", ["\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\x00", "\u200b", "\u180e"])
def test_trim_keeps_white_space_that_ecmascript_keeps(kept: str) -> None:
    assert model.trim(f" {kept}a{kept} ") == f"{kept}a{kept}"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("  a ", "a"),
        ("a\n", "a\n"),
        ("a\n\n", "a\n"),
        ("a\r\n", "a\n"),
        ("a \n", "a\n"),
        ("a\n ", "a"),
        ("\ta\tb\t", "a\tb"),
        ("\u00a0a\u00a0", "a"),
        ("\ufeffa\ufeff\n", "a\n"),
        ("\x85a\x85", "\x85a\x85"),
        ("\x1ca\x1f\n", "\x1ca\x1f\n"),
        ("", ""),
        ("\n", "\n"),
        (" \n\n", "\n"),
        ("  ", ""),
    ],
)
def test_stored_value_is_trimmed_except_for_one_final_newline(sent: str, stored: str) -> None:
    assert model.canonical_value(sent) == stored
    assert model.canonical_value(stored) == stored


@pytest.mark.parametrize("wanted", ["a", " a ", "a\n", "\u00a0a\r\n", "", " "])
def test_value_equals_its_stored_form_with_or_without_trimming(wanted: str) -> None:
    assert model.same_value(wanted, wanted)
    assert model.same_value(model.canonical_value(wanted), wanted)
    assert not model.same_value(wanted + "x", wanted)


@pytest.mark.parametrize(("stored", "wanted"), [("a", "a\n"), ("a\n", "a"), ("\x85a", "a"), (" a", "a"), ("A", "a")])
def test_values_that_a_server_stores_differently_are_not_equal(stored: str, wanted: str) -> None:
    assert not model.same_value(stored, wanted)


@pytest.mark.parametrize("value", [0, 123, 1.5, True, ["SECRET-x"], {"SECRET-x": 1}, b"SECRET-x"])
def test_value_of_another_type_is_refused_with_a_hint(value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        model.check_value(value)
    assert caught.value.option == "value"
    assert "Quote it" in str(caught.value)
    assert type(value).__name__ in str(caught.value)
    assert "SECRET-x" not in str(caught.value)


def test_invalid_unicode_value_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="b64encode") as caught:
        model.check_value("SECRET-x\udc80")
    assert "SECRET-x" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "0123", "\x00\x01\x7f", "{{ a }}", "ü\U0001f511", "a" * 2_000_000])
def test_every_string_is_a_valid_value(value: str) -> None:
    assert model.check_value(value) is value


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("A", "A"),
        (" A ", "A"),
        ("\ufeffA\u00a0", "A"),
        ("lower.case-and space", "lower.case-and space"),
        ("schlüssel_\U0001f511", "schlüssel_\U0001f511"),
        ("a/b", "a/b"),
        ("batch", "batch"),
        ("n" * 500, "n" * 500),
        (" " + "n" * 500 + " ", "n" * 500),
    ],
)
def test_name_is_converted_to_its_stored_form(name: str, stored: str) -> None:
    assert model.check_name(name) == stored


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "empty"),
        (" \t\ufeff", "empty"),
        ("n" * 501, "got 501"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\ud800", "invalid Unicode"),
        (5, "not int"),
        (None, r"must be a string \(got null\)"),
        (["A"], "not list"),
    ],
)
def test_invalid_name_error_names_the_option(name: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        model.check_name(name, "secret_name")
    assert caught.value.option == "secret_name"
    assert str(caught.value).startswith("secret_name: ")


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("db.password", "DB_PASSWORD"),
        (" db  password ", "DB_PASSWORD"),
        ("db--a__b", "DB_A__B"),
        ("straße", "STRASSE"),
        ("ключ 1", "_1"),
        ("OK_1", "OK_1"),
    ],
)
def test_normalized_name_has_only_capitals_digits_underscores(name: str, normalized: str) -> None:
    assert model.normalize_name(name) == normalized
    assert model.normalize_name(normalized) == normalized


@pytest.mark.parametrize("name", ["", "---", "ключ", "_"])
def test_name_without_letters_is_not_normalized(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no letter or digit"):
        model.normalize_name(name)


@pytest.mark.parametrize(
    ("path", "checked"),
    [("/", "/"), ("/app", "/app"), ("/app/", "/app"), ("//app///db//", "/app/db"), ("/a b", "/a b"), ("/..a", "/..a")],
)
def test_path_is_normalized_to_single_slashes(path: str, checked: str) -> None:
    assert model.check_path(path) == checked


@pytest.mark.parametrize("path", ["", "app", "./app", "/app/..", "/./app", "/../prod"])
def test_relative_path_or_parent_reference_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        model.check_path(path)
    assert caught.value.option == "secret_path"


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://infisical.example.com", "https://infisical.example.com"),
        ("https://infisical.example.com/", "https://infisical.example.com"),
        ("https://infisical.example.com/api", "https://infisical.example.com"),
        ("https://infisical.example.com:8443/api/", "https://infisical.example.com:8443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.8.9.1:1", "http://127.8.9.1:1"),
        ("http://[::1]:8080/api", "http://[::1]:8080"),
        ("HTTPS://Infisical.Example.COM", "https://infisical.example.com"),
        ("https://host/infisical", "https://host/infisical"),
        ("https://host/Infisical/", "https://host/Infisical"),
        ("https://host:8443/tools/infisical/api/", "https://host:8443/tools/infisical"),
        ("https://host/apiary", "https://host/apiary"),
    ],
)
def test_base_url_is_normalized_without_a_trailing_api(url: str, checked: str) -> None:
    assert model.check_url(url, allow_http=False) == checked


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not given"),
        ("infisical.example.com", "scheme is not http"),
        ("//infisical.example.com", "scheme is not http"),
        ("ftp://infisical.example.com", "scheme is not http"),
        ("https://", "no host"),
        ("https:///api", "no host"),
        ("https://host:port", "'https://host:port' is not a valid URL"),
        ("https://host:99999", "not a valid URL"),
        ("https://[::1", "not a valid URL"),
        ("https://host/api/v4", "puts before /api"),
        ("https://host/a/../b", "puts before /api"),
        ("https://host/a//b", "puts before /api"),
        ("https://host/a b", "puts before /api"),
        ("https://host/?a=b", r"Remove the \? or #"),
        ("https://host/#x", r"Remove the \? or #"),
        ("http://h:p?x=1", r"'http://h:p\?…' is not a valid URL"),
        ("http://infisical.example.com", "allow_http"),
        ("http://10.0.0.1", "allow_http"),
        ("http://localhost.example.com", "allow_http"),
        ("http://[2001:db8::1]", "allow_http"),
    ],
)
def test_invalid_base_url_is_refused_with_a_hint(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        model.check_url(url, allow_http=False)
    assert caught.value.option == "url"


@pytest.mark.parametrize(
    "url", ["https://me:SECRET-x@host", "https://SECRET-x@host/path", "http://a:SECRET-x@10.0.0.1"]
)
def test_url_with_a_password_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="client_id") as caught:
        model.check_url(url, allow_http=True)
    assert "SECRET-x" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://h:p?token=SECRET-x", "https://h?SECRET-x", "https://h#SECRET-x\nSECRET-x"])
def test_invalid_url_is_quoted_without_its_query(url: str) -> None:
    with pytest.raises(ConfigurationError, match="…'") as caught:
        model.check_url(url, allow_http=True)
    assert "SECRET-x" not in str(caught.value)


def test_plain_http_to_another_machine_requires_allow_http() -> None:
    assert model.check_url("http://10.0.0.1", allow_http=True) == "http://10.0.0.1"


def test_secret_hash_matches_sha256sum() -> None:
    # printf %s "KEY:value" | sha256sum, and likewise for "ÜBER:straße"
    assert model.hash_secret("KEY", "value") == "6493e351f9e547cd6ef0e198302be419c5b9199b566ecc64e4058f6acd5141ed"
    assert model.hash_secret("ÜBER", "straße") == "e01d681323b0f86a82a9a59b98505472bf7c67f618d6842d928bd8c99c490893"


def test_settings_use_defaults_for_missing_options() -> None:
    settings = model.Settings.from_options(
        {"url": " https://host/api ", "client_secret": " s \n", "timeout": 5, "token": None, "unknown": 1}
    )
    assert (settings.url, settings.client_secret, settings.timeout, settings.token) == ("https://host", "s", 5, "")
    assert (settings.rate_limit_wait, settings.server_error_wait, settings.connection_wait) == (60.0, 30.0, 10.0)
    assert (settings.secret_path, settings.environment, settings.validate_certs) == ("/", "", True)


@pytest.mark.parametrize(
    ("option", "ask"),
    [
        ("url", lambda: model.Settings.from_options({})),
        ("url", lambda: model.Settings.from_options({"url": " "})),
        ("project_id", lambda: model.Settings(environment="dev").scope()),
        ("environment", lambda: model.Settings(project_id="p").scope()),
        ("client_id", lambda: model.require(model.Settings(), "client_id", "an id")),
    ],
)
def test_missing_option_error_lists_every_way_to_set_it(option: str, ask: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask()
    assert caught.value.option == option
    message = str(caught.value)
    assert f"infisical_{option}" in message
    assert f"INFISICAL_{option.upper()}" in message
    assert "module_defaults" in message
    assert "ansible.cfg" in message


def test_scope_has_a_normalized_path() -> None:
    scope = model.Settings(project_id="p", environment="dev", secret_path="/a//b/").scope()
    assert scope == model.Location("p", "dev", "/a/b")


def test_repr_of_objects_with_secrets_does_not_show_them() -> None:
    settings = model.Settings(client_secret="SECRET-x", token="SECRET-x", proxy="http://u:SECRET-x@p", client_id="me")
    secret = model.Secret("KEY", "SECRET-x", metadata=(("a", "SECRET-x"),))
    assert "SECRET-x" not in repr((settings, secret))
    assert "me" in repr(settings)
    assert "KEY" in repr(secret)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e14])
@pytest.mark.parametrize("option", ["timeout", "rate_limit_wait", "server_error_wait", "connection_wait", "max_wait"])
def test_invalid_number_of_seconds_is_refused(option: str, seconds: float) -> None:
    with pytest.raises(ConfigurationError) as caught:
        model.Settings.from_options({"url": "http://localhost", option: seconds})
    assert caught.value.option == option


@pytest.mark.parametrize("size", [-1.0, 0.0, float("nan"), float("inf"), 4097.0])
def test_too_large_max_response_size_is_refused(size: float) -> None:
    with pytest.raises(ConfigurationError, match="at most 4096 MiB") as caught:
        model.Settings.from_options({"url": "http://localhost", "max_response_size": size})
    assert caught.value.option == "max_response_size"


def test_timeout_must_be_positive_but_a_wait_can_be_zero() -> None:
    with pytest.raises(ConfigurationError):
        model.Settings.from_options({"url": "http://localhost", "timeout": 0.0})
    assert model.Settings.from_options({"url": "http://localhost", "connection_wait": 0.0}).connection_wait == 0


@pytest.mark.parametrize("url", ["https://example.com/?token=canary-0815", "example.com#canary-0815"])
def test_error_for_a_refused_url_omits_query_and_fragment(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        model.Settings.from_options({"url": url})
    assert "canary-0815" not in str(caught.value)
