# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of requests to AWS, compared with the signatures of botocore."""

from __future__ import annotations

import datetime
import random
import string

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.login import aws

pytest.importorskip("botocore", reason="the signatures are compared with botocore's")

from botocore import auth, awsrequest, credentials

INPUTS = 2000
REGIONS = ("us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-5")
SECRET_CHARACTERS = string.ascii_letters + string.digits + "+/="


def draw(generator: random.Random, characters: str, least: int, most: int) -> str:
    return "".join(generator.choices(characters, k=generator.randint(least, most)))


def test_signatures_equal_the_signatures_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = random.randrange(1 << 32)
    generator = random.Random(seed)
    for number in range(INPUTS):
        key_id = draw(generator, string.ascii_uppercase + string.digits, 16, 24)
        secret = draw(generator, SECRET_CHARACTERS + "é€", 1, 80)
        token = draw(generator, SECRET_CHARACTERS, 1, 1200) if generator.random() < 0.5 else ""
        region = generator.choice(REGIONS)
        body = aws.BODY if number % 2 else draw(generator, string.printable + "ü€𝄞", 0, 300)
        now = generator.uniform(0, 4_000_000_000)
        moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(microsecond=0)
        monkeypatch.setattr(auth, "get_current_datetime", lambda moment=moment, **options: moment)

        made = aws.sign(aws.Credentials(key_id, secret, token, "a test"), region, now, body)

        headers = {"Content-Type": made["Content-Type"]}
        request = awsrequest.AWSRequest("POST", f"https://{made['Host']}/", headers=headers, data=body.encode())
        auth.SigV4Auth(credentials.Credentials(key_id, secret, token or None), "sts", region).add_auth(request)
        assert made.pop("Content-Length") == str(len(body.encode()))
        assert made.pop("Host").startswith(f"sts.{region}.amazonaws.com")
        assert made == dict(request.headers), f"seed {seed}, input {number}"


def test_china_has_its_own_domain() -> None:
    made = aws.sign(aws.Credentials("id", "secret", "", "a test"), "cn-north-1", 0.0)
    assert made["Host"] == "sts.cn-north-1.amazonaws.com.cn"
    assert aws.sign(aws.Credentials("id", "secret", "", "a test"), "ca-west-1", 0.0)["Host"].endswith(".com")
