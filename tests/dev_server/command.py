# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the test server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from .app import Server
from .profiles import PROFILES
from .seed import DEFAULT_SEED, SeedError
from .tls import self_signed


class BadInput(Exception):
    """An error on the command line; its message names the option."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="dev_server", description="A test server that responds like Infisical.")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8080, help="port, or 0 for any free port (default: %(default)s)")
    made.add_argument(
        "--profile", choices=sorted(PROFILES), default="2026-07", help="kind of server (default: %(default)s)"
    )
    made.add_argument("--seed", type=Path, metavar="FILE", help="JSON file with the initial contents of the server")
    made.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, for HTTPS")
    made.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key")
    made.add_argument(
        "--self-signed", type=Path, metavar="DIR", help="serve HTTPS; create a CA and a certificate in DIR"
    )
    made.add_argument(
        "--client-ca", type=Path, metavar="FILE", help="CAs of clients; demand a client certificate from one of them"
    )
    made.add_argument(
        "--optional-client-cert", action="store_true", help="with --client-ca: accept clients without a certificate"
    )
    made.add_argument(
        "--state", type=Path, metavar="FILE", help="keep the contents in this file, also if the process is killed"
    )
    made.add_argument("--ready-file", type=Path, metavar="FILE", help="JSON file to write when the server listens")
    return made


def read_seed(path: Path | None) -> Any:
    if path is None:
        return DEFAULT_SEED
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"--seed {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"--seed {path}: is not JSON: {error}") from None


def load_tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    certificate, key = options.tls_cert, options.tls_key
    if options.self_signed and (certificate or key):
        raise BadInput("--self-signed cannot be used with --tls-cert or --tls-key")
    if bool(certificate) != bool(key):
        raise BadInput("--tls-cert and --tls-key must be used together")
    if options.self_signed:
        try:
            certificate, key = self_signed(options.self_signed, options.host)
        except ImportError:
            raise BadInput(
                f"--self-signed needs cryptography for {sys.executable}: install requirements/dev_server.txt"
            ) from None
        except OSError as error:
            raise BadInput(f"--self-signed {options.self_signed}: {error.strerror}") from None
    if not certificate:
        if options.client_ca:
            raise BadInput("--client-ca needs HTTPS: use it with --self-signed or --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"--tls-cert {certificate}, --tls-key {key}: {error}") from None
    if options.client_ca:
        demand_certificates(context, options)
    return context


def demand_certificates(context: ssl.SSLContext, options: argparse.Namespace) -> None:
    context.verify_mode = ssl.CERT_OPTIONAL if options.optional_client_cert else ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(options.client_ca)
        if options.self_signed:
            context.load_verify_locations(options.self_signed / "ca.pem")
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"--client-ca {options.client_ca}: {error}") from None


def write_ready_file(path: Path, url: str, profile: str) -> None:
    """Write the file atomically, so that a waiting process never reads half of it."""
    document = {"url": url, "pid": os.getpid(), "profile": profile, "control_url": f"{url}/_control"}
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document) + "\n", "utf-8")
    draft.replace(path)


async def run_outages(
    runner: web.AppRunner, site: web.TCPSite, context: ssl.SSLContext | None, switches: asyncio.Queue[bool]
) -> None:
    """Refuse connections after each False in the queue, accept them after each True; keep the stored data."""
    host, port = runner.addresses[0][:2]
    while True:
        wanted = await switches.get()
        if wanted and not runner.sites:
            site = web.TCPSite(runner, host, port, ssl_context=context)
            await site.start()
        elif runner.sites and not wanted:
            await site.stop()
            for connection in runner.server.connections if runner.server else ():
                connection.force_close()


async def run(server: Server, options: argparse.Namespace, context: ssl.SSLContext | None) -> None:
    """Serve until SIGTERM or SIGINT. SIGUSR1 refuses connections, SIGUSR2 accepts them again at the same port."""
    ended, switches = asyncio.Event(), asyncio.Queue[bool]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    for number, wanted in ((signal.SIGUSR1, False), (signal.SIGUSR2, True)):
        loop.add_signal_handler(number, switches.put_nowait, wanted)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, ssl_context=context)
    try:
        await site.start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise BadInput(f"cannot listen on {options.host} port {options.port}: {error}") from None
    port = runner.addresses[0][1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"{'https' if context else 'http'}://{host}:{port}"
    try:
        if options.ready_file:
            write_ready_file(options.ready_file, url, server.profile.name)
        print(f"Listening on {url} (profile {server.profile.name})", flush=True)
        outages = asyncio.create_task(run_outages(runner, site, context, switches))
        await ended.wait()
        outages.cancel()
    except OSError as error:
        raise BadInput(f"--ready-file {options.ready_file}: {error.strerror}") from None
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser()
    options = command.parse_args(arguments)
    try:
        seed = read_seed(options.seed)
        try:
            server = Server(PROFILES[options.profile], seed, options.state)
            server.asks_for_certificates = options.client_ca is not None
        except SeedError as error:
            raise BadInput(f"--seed {options.seed}: {error}") from None
        asyncio.run(run(server, options, load_tls_context(options)))
    except BadInput as error:
        # Not parser.error, which would print the usage before the message.
        command.exit(2, f"{command.prog}: error: {error}\n")
