# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A typical application: it has secrets in its environment, and reads new ones when it is reloaded.

For each start and reload it writes a line with the event, the time, and the hash of its password.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time

happened = sys.argv[1]
password = os.environ.get("DB_PASSWORD", "")
with open(os.path.join(os.environ["STATE_DIRECTORY"], "loaded"), "a", encoding="ascii") as loaded:
    loaded.write(f"{happened} {time.time():.2f} {hashlib.sha256(password.encode()).hexdigest()}\n")
if happened == "started":
    while True:
        time.sleep(3600)
