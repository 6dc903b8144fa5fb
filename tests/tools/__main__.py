# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one target of the Makefile: python3 tests/tools TARGET [arguments for its tool]."""

from __future__ import annotations

import signal
import sys

if sys.version_info < (3, 9):  # noqa: UP036
    raise SystemExit("Python 3.9 or later is needed to run this, and 3.11 or later on the controller")

from failure import UNAVAILABLE, Failure, Unavailable
from targets import TARGETS


def main(arguments: list[str]) -> int:
    """Run the target in the first argument and return the exit status."""
    if not arguments or arguments[0] not in TARGETS:
        sys.stderr.write(f"name one of these targets: {' '.join(TARGETS)}\n")
        return 2
    name, *rest = arguments
    # SIGTERM and SIGINT end a run as Ctrl-C does, even if the shell that started it ignores Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        TARGETS[name](rest)
    except Unavailable as reason:
        sys.stderr.write(f"make {name}: {reason}\n")
        return UNAVAILABLE
    except (Failure, OSError) as failure:
        sys.stderr.write(f"make {name}: {failure}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
