# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a dotenv file repeatedly until /run/reader-stops exists, and prints how often it was incomplete."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

WHOLE = re.compile(rb'DB_PASSWORD="(\w{,40}|([a-c])\2{49999})"\n')


def main() -> None:
    path, stop = Path(sys.argv[1]), Path("/run/reader-stops")
    stop.unlink(missing_ok=True)
    reads, torn, kinds = 0, 0, set()
    while not stop.exists():
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        time.sleep(0.0002)  # leave the processor to the sync
        reads += 1
        torn += WHOLE.fullmatch(content) is None
        kinds.add(content)
    json.dump({"reads": reads, "torn": torn, "kinds": len(kinds)}, sys.stdout)


main()
