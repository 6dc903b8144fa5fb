# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes planted secrets (canaries) and searches for them in everything that a run prints or leaves behind."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from integration.controller import Controller, Run

TOKEN_OF_THE_SERVER = rb"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+"
"""The pattern of the test server's access tokens, which are JSON web tokens."""
SECONDS_OF_ASYNC_WRAPPER = 15
AROUND = 300
"""The number of characters to show on each side of a leak."""


@dataclass(frozen=True)
class Canary:
    """A secret with a core of letters and digits, which no quoting or escaping changes."""

    core: str

    def __str__(self) -> str:
        return f'start "{self.core}"/+=&\\ é {{{{ end'

    @property
    def plain(self) -> str:
        """Make a canary that is valid in a header."""
        return f"{self.core}.plain"

    def spellings(self) -> set[bytes]:
        """Return the core as text, in base64 at each of three offsets, and in hexadecimal digits."""
        raw = self.core.encode("ascii")
        encoded = (base64.b64encode(b"-" * offset + raw).rstrip(b"=") for offset in range(3))
        # The first and last characters depend on the surrounding text.
        return {raw, raw[::-1], raw.hex().encode(), *(text[4:-2] for text in encoded)}


def leaks(canaries: Iterable[Canary], places: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the places with a spelling of a canary or token, and the text around the first occurrence."""
    spellings = [re.escape(spelling) for canary in canaries for spelling in canary.spellings()]
    pattern = re.compile(b"|".join([*spellings, TOKEN_OF_THE_SERVER]))
    hits = {place: pattern.search(content) for place, content in places.items()}
    return {
        place: places[place][max(0, hit.start() - AROUND) : hit.end() + AROUND] for place, hit in hits.items() if hit
    }


def places(ansible: Controller, run: Run) -> dict[str, bytes]:
    """Return everything to search after a watched run whose ANSIBLE_LOG_PATH is in the controller's folder."""
    assert run.seen, "the run was not watched"
    # Ansible's wrapper of async tasks checks every 5 seconds for the end of its module, and then removes its files.
    remote, deadline = ansible.folder / "remote", time.monotonic() + SECONDS_OF_ASYNC_WRAPPER
    while remote.exists() and any(remote.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    found = {
        "printed": run.text.encode(),
        "shown to callbacks": run.record.encode(),
        "arguments and environments": b"\n".join(run.seen),
    }
    for path in ansible.left():
        name = str(path.relative_to(ansible.folder))
        found[name] = name.encode() + b"\n" + path.read_bytes()
    return found
