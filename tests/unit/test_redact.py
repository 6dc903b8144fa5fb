# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping values out of messages, in every encoding in which a server may quote them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core import redact
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.core.redact import Sent

CANARY = 'c@n&ry "w/ith" 100% büß\\!'


def javascript_uri_component(text: str) -> str:
    return quote(text, safe="!'()*~")


SPELLINGS = {
    "as it is": CANARY,
    "JSON": json.dumps(CANARY),
    "JSON with Unicode": json.dumps(CANARY, ensure_ascii=False),
    "percent": quote(CANARY, safe=""),
    "percent of JavaScript": javascript_uri_component(CANARY),
    "form": quote_plus(CANARY),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 without padding": base64.b64encode(CANARY.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_secret_is_masked_in_every_spelling(spelling: str) -> None:
    text = Sent([CANARY]).redact(f"before {spelling} after")
    assert redact.MASK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    for part in ("c@n", "c%40n", "b\\u00fc", "büß", base64.b64encode(CANARY.encode()).decode()[:8]):
        assert part not in text


@pytest.mark.parametrize("outer", [" ", "\n", "\t", "\u00a0", "\ufeff", "\u2028"])
def test_stored_form_of_a_secret_is_masked(outer: str) -> None:
    text = Sent([f"{outer}canary-0815{outer}"]).redact("the value 'canary-0815' is bad")
    assert text == f"the value '{redact.MASK}' is bad"


def test_every_line_of_a_multi_line_secret_is_masked() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkq\n}\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    text = Sent([key]).redact("bad line 3: hkiG9w0BAQEFAASC and {x}")
    assert text == f"bad line 3: {redact.MASK} and {{x}}"


def test_longer_of_two_overlapping_secrets_is_masked_entirely() -> None:
    assert Sent(["prod-pass", "prod-password"]).redact("prod-password") == redact.MASK


def test_empty_secret_masks_nothing() -> None:
    assert Sent([""]).redact("some text") == "some text"


def test_secret_with_invalid_unicode_is_masked() -> None:
    assert Sent(["\udc80xyzxyzx"]).redact("a \udc80xyzxyzx b") == f"a {redact.MASK} b"


def test_quoted_message_is_one_printable_line_of_limited_length() -> None:
    line = Sent([]).quote("a\nb\x1b[31m\tc " + "x" * 5000)
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.startswith("a b?[31m c x")
    assert len(line) < 400


def test_message_is_masked_before_it_is_truncated() -> None:
    line = Sent(["canary-0815"]).quote("x" * 295 + " canary-0815")
    assert "canary" not in line


def test_description_of_an_unexpected_exception_omits_its_text() -> None:
    with pytest.raises(ValueError) as raised:
        raise ValueError("canary-0815")
    text = redact.describe_unexpected(raised.value)
    assert "ValueError" in text
    assert "test_redact.py:" in text
    assert "canary-0815" not in text


def test_secret_reference_in_a_value_is_masked() -> None:
    said = Sent(["xK9${hunterpart}zz"]).quote("Secret reference ${hunterpart} does not exist")
    assert "hunterpart" not in said


@pytest.mark.parametrize("secret", ["n", "denied", "  ab      ", "${DB}/database", "a${b}c-and-more"])
def test_response_text_is_left_out_if_a_secret_is_short(secret: str) -> None:
    # If the secret were masked, "Permissio*** De***ied" would reveal it.
    assert Sent([secret]).quote("PermissionDenied: You are not allowed to edit") == ""


def test_nothing_is_quoted_after_a_short_secret_was_sent() -> None:
    sent = Sent(["long-enough"])
    assert sent.quote("no long-enough here.") == f"no {redact.MASK} here"
    sent.remember(["short"])
    assert sent.quote("nothing of either") == ""


def test_earlier_secret_is_masked_in_later_text() -> None:
    sent = Sent(["canary-0815"])
    sent.remember(["another-one"])
    assert sent.quote("canary-0815 and another-one") == f"{redact.MASK} and {redact.MASK}"


def test_text_that_is_too_long_to_search_is_not_quoted() -> None:
    assert Sent().quote("x" * 70_000) == ""


LONG = 'Zq9-secret-"<tag>"-éü-abcdefghij0123456789'


ENCODED = LONG.encode()
OTHER_SPELLINGS = [
    LONG[:12] + "…", html.escape(LONG), LONG.upper(), LONG.replace("-", "- "), LONG[-9:],
    quote(LONG, safe="")[:20], quote(LONG, safe="").lower(), "".join(f"\\u{ord(one):04x}" for one in LONG)[:60],
    base64.b64encode(ENCODED).decode()[:20], base64.b64encode(b"user:" + ENCODED).decode()[:24],
    base64.b64encode(b"x" + ENCODED).decode()[4:], base64.urlsafe_b64encode(ENCODED).decode()[:20],
    ENCODED.hex(), ENCODED.hex().upper()[:24], str(list(ENCODED)),
    json.dumps({"data": list(ENCODED)}, separators=(",", ":")),
]  # fmt: skip


@pytest.mark.parametrize("part", OTHER_SPELLINGS)
def test_text_with_a_part_of_a_secret_is_not_quoted(part: str) -> None:
    assert Sent([LONG]).quote(f"bad value: {part}") == ""
    assert Sent([LONG]).quote("bad value: secret-") == "bad value: secret-"


@pytest.mark.parametrize("part", ["abcdef…", "bcdefg", "ABCDE"])
def test_text_with_a_part_of_a_short_secret_is_not_quoted(part: str) -> None:
    assert Sent(["abcdefgh"]).quote(f"bad value: {part}") == ""


def test_values_read_from_the_server_are_masked() -> None:
    sent = Sent()
    sent.remember_read(iter(["canary-0815", None, "", "prod"]))
    assert sent.quote("cannot replace canary-0815.") == f"cannot replace {redact.MASK}"
    assert sent.quote("cannot replace canary-0…") == ""
    assert sent.quote("no such environment: prod") == ""
    assert sent.quote("The secret is there") == "The secret is there"


def test_read_values_are_only_evaluated_if_text_is_quoted() -> None:
    taken: list[str] = []
    sent = Sent()
    sent.remember_read(taken.append(value) or value for value in ["canary-0815"])  # type: ignore[func-returns-value]
    sent.remember(["another-one"])
    assert taken == []
    assert sent.quote("canary-0815") == redact.MASK
    assert taken == ["canary-0815"]
