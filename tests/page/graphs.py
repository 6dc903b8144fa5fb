# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes graph documents of fleets of any size, with known problems."""

from __future__ import annotations

from datetime import datetime, timezone
from random import Random
from typing import Any

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=timezone.utc).timestamp()
SERVICE = "https://infisical.example.com"
INTERVAL = 15 * 60
NAMES = (
    "DB_PASSWORD", "DB_USER", "API_KEY", "SMTP_PASSWORD", "REDIS_URL", "JWT_SIGNING_KEY", "S3_ACCESS_KEY",
    "S3_SECRET_KEY", "SENTRY_DSN", "STRIPE_KEY", "LDAP_BIND", "SESSION_KEY",
)  # fmt: skip

Graph = dict[str, Any]


def format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def secret(number: int, project: str, path: str, age: float = 20 * 86400, version: int = 4) -> dict[str, Any]:
    name = NAMES[number % len(NAMES)] + (f"_{number // len(NAMES)}" if number >= len(NAMES) else "")
    return {
        "id": f"{project}/prod{path}/{name}",
        "project": project,
        "environment": "prod",
        "path": path,
        "name": name,
        "version": version,
        "updated_at": format_time(NOW - age),
        "gone": False,
        "infisical_id": f"id-{project}-{number}",
    }


def vault(host: str, secrets: list[dict[str, Any]], projects: list[str], age: float = 120) -> dict[str, Any]:
    """Return a vault with the current version of all secrets, synced `age` seconds ago."""
    return {
        "id": f"{host}/shop",
        "host": host,
        "job": "shop",
        "service": SERVICE,
        "scope": {
            "project_ids": projects,
            "environment": "prod",
            "secret_path": "/",
            "recursive": True,
            "key_format": "{key}",
            "normalize_names": False,
        },
        "interval_minutes": INTERVAL // 60,
        "last_sync": format_time(NOW - age),
        "conclusion": "ok",
        "message": "",
        "problem": None,
        "ended": format_time(NOW - age),
        "agent": "0.3.0",
        "generation": 7,
        "answered_at": format_time(NOW),
        "silent": False,
        "files": [],
        "holds": [[number, one["version"], format_time(NOW - age)] for number, one in enumerate(secrets)],
    }


def healthy(hosts: int = 10, secrets: int = 12) -> Graph:
    """Return a fleet without problems; with more than 20 secrets it has four projects."""
    projects = [f"project-{number}" for number in range(4 if secrets > 20 else 1)]
    paths = ("/shop", "/shop/web", "/jobs", "/common")
    known = [
        secret(number, projects[number % len(projects)], paths[number // len(projects) % 4])
        for number in range(secrets)
    ]
    names = ["Shop", "Billing", "Search", "Mail"]
    hosts_named = [f"web{number}" for number in range(1, hosts + 1)]
    return {
        "schema": "keyfleet.infisical/fleet",
        "version": 1,
        "time": format_time(NOW),
        "services": [{"id": SERVICE}],
        "projects": [
            {"id": id_, "name": name, "slug": name.lower(), "service": SERVICE} for id_, name in zip(projects, names)
        ],
        "secrets": known,
        "vaults": [vault(host, known, projects) for host in hosts_named],
        "sources": [],
    }


def troubled(hosts: int = 10, secrets: int = 12) -> Graph:
    """Return the same fleet with problems.

    web1 to web3 are behind on DB_PASSWORD for 2 hours, web5 is stale for 5 intervals, web7 is forbidden, web8 lacks
    API_KEY, web9 is silent for 3 days, and SMTP_PASSWORD is deleted but still on web1 and web2. In large fleets, more
    hosts are behind.
    """
    graph = healthy(hosts, secrets)
    vaults = graph["vaults"]
    graph["secrets"][0]["updated_at"] = format_time(NOW - 2 * 3600 - 60)
    for behind in vaults[:3]:
        behind["holds"][0][1] -= 1
    vaults[4]["last_sync"] = format_time(NOW - 5 * INTERVAL - 60)
    vaults[6].update(conclusion="forbidden", message="The machine identity lacks 'Read Value' on 'Secrets'.")
    vaults[7]["holds"] = [hold for hold in vaults[7]["holds"] if hold[0] != 2]
    long_ago = format_time(NOW - 3 * 86400)
    vaults[8].update(silent=True, answered_at=long_ago, last_sync=long_ago)
    graph["secrets"][3]["gone"] = True
    for without in vaults[2:]:
        without["holds"] = [hold for hold in without["holds"] if hold[0] != 3]
    chance = Random(7)
    for other in chance.sample(vaults[10:], min(60, hosts - 10)):
        chance.choice(other["holds"])[1] -= 1
    for one in vaults:
        for hold in one["holds"]:
            hold[2] = format_time(NOW - chance.randrange(INTERVAL, 80000))
    return graph


def with_identities(graph: Graph) -> Graph:
    """Give the hosts of a fleet identities: web1 to web6 keep least privilege, web7 and web8 do not, web9 shares an
    identity, and web10 is unknown. The client secret of web2 expires soon, and that of web3 has expired."""
    shop = {"environment": "prod", "path": "/", "recursive": True, "access": "read"}
    days = {1: 10, 2: -1}
    graph["identities"] = [
        {
            "host": one["host"], "auth_method": "universal_auth", "reported_id": "", "imports": [],
            "expires_at": format_time(NOW + days.get(number, 60) * 86400 + 60) if number < 8 else None,
            "id": f"id-{number}" if number < 8 else "", "name": f"host:{one['host']}" if number < 8 else "",
            "project": "project-0", "checked_at": format_time(NOW) if number < 9 else None,
            "access": {
                "roles": ["viewer"] if number == 6 else ["no-access"], "foreign": [],
                "grants": [shop, {**shop, "environment": "dev", "path": "/admin"}] if number == 7 else [shop],
            } if number < 8 else None,
        }
        for number, one in enumerate(graph["vaults"])
    ]  # fmt: skip
    return graph


HOSTILE = (
    "<script>alert(1)</script>",
    '"onload="alert(2)',
    "</script><img src=x onerror=alert(3)>",
    "</title><svg onload=alert(4)>",
    "'; alert(5); //",
    "{{ 7 * 191 }}{% raw %}",
    "<!--<script>",
    "]]>\u2028\u202egnp.exe",
    "web5",
    "&lt;b&gt; \ud800",
)


def hostile() -> Graph:
    """Return a fleet with problems whose names try to inject markup."""
    graph = with_identities(troubled())
    for one, identity, name in zip(graph["vaults"], graph["identities"], HOSTILE):
        one.update(host=name, job=f"{HOSTILE[0]} job", message=HOSTILE[2], id=name)
        identity.update(host=name, name=name)
        identity["access"] = {"roles": [HOSTILE[1]], "grants": [], "foreign": []}
    for one, name in zip(graph["secrets"], reversed(HOSTILE)):
        one.update(name=name, path=f"/{HOSTILE[0]}", environment=HOSTILE[1])
    graph["projects"][0].update(name=HOSTILE[2], slug=HOSTILE[2])
    graph["services"][0]["id"] = graph["projects"][0]["service"] = f"https://{HOSTILE[0]}"
    graph["sources"] = [{"project": "p", "environment": "e", "path": "/", "listed_at": None, "problem": HOSTILE[2]}]
    return graph
