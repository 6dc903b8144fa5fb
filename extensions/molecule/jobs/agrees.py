# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the secrets of an application with the expected ones, and prints the names that differ, never values.

agrees WHAT environment|json|files [PATH]; expected.json in the same folder has {WHAT: {name: expected value}}.
"""

from __future__ import annotations

import json
import os
import sys

what, kind = sys.argv[1:3]
with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "expected.json"), encoding="utf-8") as stream:
    wanted = {name: value.encode() for name, value in json.load(stream)[what].items()}
if kind == "environment":
    found = {name: os.environb[name.encode()] for name in wanted if name.encode() in os.environb}
elif kind == "json":
    with open(sys.argv[3], encoding="utf-8") as stream:
        found = {name: value.encode() for name, value in json.load(stream).items()}
else:
    found = {}
    for name in os.listdir(sys.argv[3]):
        with open(os.path.join(sys.argv[3], name), "rb") as stream:
            found[name] = stream.read()
different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
sys.stdout.write(f"{len(wanted)} agree\n" if not different else f"different: {different}\n")
raise SystemExit(bool(different))
