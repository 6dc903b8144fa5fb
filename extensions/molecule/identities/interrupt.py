# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a command, and kills it some seconds after the test server has created a client secret for it.

Arguments: the URL of the server's controls, the seconds, and the command. The exit status is 1 if the command ends
earlier, because then nothing was interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def count_secrets(url: str) -> int:
    """Return the number of requests that have created a client secret."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/requests", timeout=30) as response:
        found = json.load(response)["requests"]
    return sum(one["method"] == "POST" and one["path"].endswith("/client-secrets") for one in found)


def main() -> None:
    """Run the command and kill it."""
    url, seconds, *command = sys.argv[1:]
    before = count_secrets(url)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and count_secrets(url) == before:
            time.sleep(0.05)
        time.sleep(float(seconds))
        if process.poll() is not None:
            sys.exit("the command ended before it was interrupted")
        process.send_signal(signal.SIGSTOP)  # so that it starts no further worker
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
        for pid in (process.pid, *map(int, workers)):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
