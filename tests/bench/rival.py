# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the vendor's collection infisical.vault in the same run, as its manual recommends: with one login.

The collection comes from a checkout. Its library is in requirements/bench-rival.txt.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dev_server.client import DevServer
from lookups import FORKS, LOOKUP, TASKS, last_value, same_work, template
from plays import Play, Plays
from row import Row
from static_server import StaticServer, name_of, value_of
from timing import Prepared, best
from writes import WRITE

PLACE = "project_id='demo-project', env_slug='dev'"
LOGIN = """\
    - ansible.builtin.set_fact:
        infisical_login: >-
          {{ lookup('infisical.vault.login', url=infisical_url, auth_method='universal_auth',
             universal_auth_client_id=infisical_client_id, universal_auth_client_secret=infisical_client_secret) }}
      run_once: true
"""
CREATE = """\
    - infisical.vault.create_secret:
        login_data: "{{ infisical_login }}"
        project_id: demo-project
        env_slug: dev
        path: /
        secret_name: "WRITTEN_{{ item }}"
        secret_value: "value {{ item }}"
      loop: "{{ range(20) | list }}"
"""
SIZE, LOOKUPS, HOSTS, WRITTEN = 500, 50, 20, 20
ROUNDS = 3


def rows(checkout: Path) -> list[Row]:
    """Return the rows of the table, with the other collection as the floor."""
    if not (checkout / "plugins" / "lookup" / "read_secrets.py").is_file():
        sys.exit(f"bench: {checkout} is not a checkout of infisical.vault")
    with tempfile.TemporaryDirectory(prefix="bench_") as name:
        collections = Path(name, "collections")
        place = collections / "ansible_collections" / "infisical" / "vault"
        place.parent.mkdir(parents=True)
        place.symlink_to(checkout)
        with StaticServer(SIZE) as server:
            plays = Plays(Path(name), server.url, f"/{SIZE}", str(collections))
            found = [_lookups(plays, server), _hosts(plays, server)]
        with DevServer() as dev_server:
            plays = Plays(Path(name), dev_server.url, collections=str(collections))
            return [*found, _writes(plays, dev_server)]


def _read(name: str) -> str:
    """Return the expression of a value from the other collection's lookup."""
    reading = f"login_data=infisical_login, {PLACE}, path='/{SIZE}'"
    return f"lookup('infisical.vault.read_secrets', {reading}, secret_name={name}).value"


def _lookups(plays: Plays, server: StaticServer) -> Row:
    floor = plays.play(LOGIN + template(_read("{}"), LOOKUPS, SIZE))
    subject = plays.play(template(f"lookup('{LOOKUP}', {{}})", LOOKUPS, SIZE))
    for play in (floor, subject):
        if last_value(LOOKUPS, SIZE) not in play():
            sys.exit("bench: a lookup did not return its value")
    return _row(f"{LOOKUPS} lookups in one template, folder of {SIZE:,}", floor, subject, server)


def _hosts(plays: Plays, server: StaticServer) -> Row:
    name, value = name_of(7), value_of(7)
    reading = _read(f"'{name}'")
    floor = plays.play(LOGIN + same_work(f"{reading} == '{value}'"), HOSTS, FORKS)
    subject = plays.play(same_work(f"lookup('{LOOKUP}', '{name}') == '{value}'"), HOSTS, FORKS)
    return _row(f"{HOSTS} hosts x {TASKS} tasks with a lookup each, {FORKS} forks", floor, subject, server)


def _row(what: str, floor: Play, subject: Play, server: StaticServer) -> Row:
    server.take_counts()
    subject()
    requests = sum(server.take_counts().values())
    return Row(f"{what} (floor: infisical.vault)", *best(ROUNDS, floor, subject), requests)


def _writes(plays: Plays, server: DevServer) -> Row:
    floor = plays.play(LOGIN + CREATE)
    subject = plays.play(f'    - {WRITE}\n      loop: "{{{{ range({WRITTEN}) | list }}}}"\n')
    times = best(ROUNDS, Prepared(server.reset, floor), Prepared(server.reset, subject))
    return Row(f"{WRITTEN} secrets created by a loop (floor: infisical.vault)", *times)
