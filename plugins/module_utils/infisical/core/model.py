# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library's data types (secrets, locations and settings), and checks of single values."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from .errors import Ambiguous, ConfigurationError

LONGEST_NAME = 500
"""Maximum length of a name, in characters, in the batch routes of real servers."""
LONGEST_NAME_IN_PATH = 100
"""Maximum length of a name, in characters, in a request's path. Real servers respond to a longer one with 404."""

CERTIFICATE_OPTIONS = ("client_cert", "client_key")
"""The settings for a client certificate. Any login method can use them, because the server may require the certificate
for TLS. Only with `tls_cert_auth` do they prove the identity."""

PROOF_OPTIONS = (
    "client_id", "client_secret", "token", "identity_id", "jwt", "jwt_path", "jwt_key_file", "jwt_subject", "username",
    "password",
)  # fmt: skip
"""The settings that name an identity and prove it."""

LOGIN_OPTIONS = ("auth_method", *PROOF_OPTIONS, *CERTIFICATE_OPTIONS, "organization_slug")
"""All settings for a login."""

LONGEST_WAIT = 86_400.0
"""Maximum timeout or wait in seconds: one day."""

LARGEST_RESPONSE = 4096.0
"""Maximum value of the option `max_response_size`, in MiB."""

IN_MODULE_DEFAULTS = "in module_defaults, "
"""A part of a hint that does not apply to lookups, which cannot read `module_defaults`."""

NULL = "must be a string (got null)."
"""The problem text for a name or value that is null in YAML or JSON."""

_PREFIX = r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~%-]+)+"
"""A path whose segments need no percent-encoding and do not lead upwards."""

# The characters that ECMAScript's String.prototype.trim removes: WhiteSpace and LineTerminator. str.strip() removes a
# different set.
_ECMASCRIPT_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


@dataclass(frozen=True, order=True)
class Location:
    """A folder (`secret_path`) in a project's environment. The project is given by its id, the environment by its
    slug."""

    project_id: str
    environment: str
    secret_path: str = "/"

    def __str__(self) -> str:
        return f"project {self.project_id}, environment {self.environment}, path {self.secret_path}"


class Secret(NamedTuple):
    """One shared (not personal) secret. It is a tuple, because ten thousand tuples can be created quickly.

    `value` is None if it was not requested, is hidden, or must not be changed. `tags` (slugs) and `metadata` (pairs of
    key and value) are None if the response did not contain them, or if they must not be changed. `version` is 0 before
    the first write. `updated_at` is the server's ISO 8601 text. `rotated` is true if Infisical rotates the value.
    `encrypted_metadata` lists the keys of `metadata` whose values must not be shown. `quotes_lines` is true if the
    server adds quotes to multi-line text that a reference inserts. This is known only if references were expanded.

    In a vault, `key` is the secret's name in Infisical, `job` is the job that wrote the entry (empty for a manual
    change), and `synced_at` is the time (ISO 8601, UTC) at which the vault received this version.
    """

    key: str
    value: str | None = None
    version: int = 0
    id: str = ""
    secret_path: str = "/"
    environment: str = ""
    comment: str | None = None
    tags: tuple[str, ...] | None = None
    metadata: tuple[tuple[str, str], ...] | None = None
    hidden: bool = False
    created_at: str = ""
    updated_at: str = ""
    project_id: str = ""
    job: str = ""
    synced_at: str = ""
    rotated: bool = False
    encrypted_metadata: tuple[str, ...] = ()
    quotes_lines: bool = False

    def __repr__(self) -> str:
        """Return all fields except the ones that may be secret."""
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name not in ("value", "metadata"))
        return f"Secret({', '.join(shown)})"


def from_row(row: Mapping[str, Any]) -> Secret:
    """Return the secret from the result of `_asdict()` after a round trip through JSON."""
    tags, metadata = row["tags"], row["metadata"]
    return Secret(
        **{
            **row,
            "encrypted_metadata": tuple(row["encrypted_metadata"]),
            "tags": None if tags is None else tuple(tags),
            "metadata": None if metadata is None else tuple((key, value) for key, value in metadata),
        }
    )


@dataclass(frozen=True)
class Known:
    """The result of an earlier lookup of a secret; `secret` is None if it did not exist.

    The server still decides: if this result is outdated, the server responds to the write with a conflict or a missing
    secret.
    """

    secret: Secret | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any] | None) -> Known:
        """Return the object from the result of `row()` after a round trip through JSON."""
        return cls(None if row is None else from_row(row))

    def row(self) -> dict[str, Any] | None:
        """Return the secret as plain data, or None if it did not exist."""
        return None if self.secret is None else self.secret._asdict()


@dataclass(frozen=True)
class Merged:
    """The secrets in a listing, keyed by name, with warnings about duplicate names.

    `ambiguous` ({name: message}) contains the names that have different values in several folders. They are not in
    `secrets`.
    """

    secrets: dict[str, Secret]
    warnings: tuple[str, ...] = ()
    ambiguous: dict[str, str] = field(default_factory=dict)


def refuse_ambiguous(ambiguous: Mapping[str, str], names: Iterable[str]) -> None:
    """Raise Ambiguous if one of the names has different values in several folders (see `Merged.ambiguous`)."""
    for name in names:
        if name in ambiguous:
            raise Ambiguous(ambiguous[name])


@dataclass(frozen=True)
class Settings:
    """The options that all modules and plugins share. Waits and timeouts are in seconds, sizes in MiB."""

    url: str = ""
    auth_method: str = "universal_auth"
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    identity_id: str = ""
    jwt: str = field(default="", repr=False)
    jwt_path: str = ""
    jwt_key_file: str = ""
    jwt_subject: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    client_cert: str = ""
    client_key: str = ""
    organization_slug: str = ""
    project_id: str = ""
    environment: str = ""
    secret_path: str = "/"
    ca_path: str = ""
    validate_certs: bool = True
    proxy: str = field(default="", repr=False)
    allow_http: bool = False
    timeout: float = 30.0
    api_version: str = "auto"
    rate_limit_wait: float = 60.0
    server_error_wait: float = 30.0
    connection_wait: float = 10.0
    max_wait: float = 300.0
    max_response_size: float = 64.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Return validated settings from `options`. None means that an option is not set.

        Other options are ignored. Raises ConfigurationError for the first option that is missing or invalid.
        """
        known = {f.name: options[f.name] for f in fields(cls) if options.get(f.name) is not None}
        for name, value in known.items():
            if isinstance(value, str):
                known[name] = trim(value)
        settings = cls(**known)
        for name in ("timeout", "rate_limit_wait", "server_error_wait", "connection_wait", "max_wait"):
            seconds = getattr(settings, name)
            if not 0 <= seconds <= LONGEST_WAIT or (name == "timeout" and seconds == 0):
                least = "more than" if name == "timeout" else "at least"
                problem = f"must be {least} 0 and at most {LONGEST_WAIT:g} seconds (got {seconds:g})."
                raise ConfigurationError(name, problem)
        size = settings.max_response_size
        if not 0 < size <= LARGEST_RESPONSE:
            problem = f"must be more than 0 and at most {LARGEST_RESPONSE:g} MiB (got {size:g})."
            raise ConfigurationError("max_response_size", problem)
        return replace(settings, url=check_url(settings.url, settings.allow_http))

    def identity(self) -> tuple[str, ...]:
        """Return the server and all options for the login, which differ if the identities differ."""
        return (self.url, *(str(getattr(self, name)) for name in LOGIN_OPTIONS))

    def secret(self) -> str:
        """Return the secret in the options that nobody can guess, or an empty text if there is none."""
        return self.client_secret or self.token or self.jwt

    def scope(self) -> Location:
        """Return the location that the options specify. Raises ConfigurationError if a part of it is missing."""
        if not self.project_id:
            raise NotGiven("project_id", "the project's id from its settings page")
        if not self.environment:
            raise NotGiven("environment", "a slug; it has no default, so that nobody writes to production by accident")
        return Location(self.project_id, self.environment, check_path(self.secret_path))


class NotGiven(ConfigurationError):
    """A shared option of tasks and lookups is not set; `meaning` describes its value."""

    def __init__(self, option: str, meaning: str) -> None:
        super().__init__(
            option,
            "not given.",
            hint=f"Set it ({meaning}) as an argument, {IN_MODULE_DEFAULTS}as the variable infisical_{option}, as "
            f"INFISICAL_{option.upper()} in the controller's environment, or as {option} under [infisical] in "
            "ansible.cfg.",
        )


def require(settings: Settings, option: str, meaning: str) -> str:
    """Return the text of a required option. Raises NotGiven, which lists all ways to set the option."""
    value = getattr(settings, option)
    if not value:
        raise NotGiven(option, meaning)
    return str(value)


def check_url(url: str, allow_http: bool) -> str:
    """Return `url` as `scheme://host[:port][/prefix]`, without a trailing `/api`. Raises ConfigurationError.

    The prefix is the path that a gateway adds before `/api`.
    """
    shown = re.sub(r"(?s)([?#]).+", r"\1…", url)  # a query may contain a token

    def refuse(problem: str, hint: str = "Write it like https://infisical.example.com") -> NoReturn:
        raise ConfigurationError("url", problem, hint=hint) from None

    if not url:
        raise NotGiven("url", "such as https://infisical.example.com")
    if "@" in url:
        refuse("must not contain a user name or a password.", "Use client_id and client_secret.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        refuse(f"'{shown}' is not a valid URL.")
    if parts.scheme not in ("http", "https") or not host:
        refuse(f"'{shown}' has no host, or its scheme is not http or https.")
    if "?" in url or "#" in url:
        refuse(f"'{shown}' must not have a query or fragment.", "Remove the ? or # and everything after it.")
    prefix = parts.path.rstrip("/")
    prefix = prefix[: -len("/api")] if prefix.endswith("/api") else prefix
    if prefix and (not re.fullmatch(_PREFIX, prefix) or "/api/" in prefix + "/"):
        refuse(f"'{shown}' must end after the host and port, or after the path that a gateway puts before /api.")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        hint = "Use https://, or set allow_http: true if the network path to the server is protected in another way."
        refuse(f"'{shown}' would send secrets unencrypted to another machine.", hint)
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}" + (f":{port}" if port is not None else "") + prefix


def is_loopback(host: str) -> bool:
    """Return whether a host name or address always means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trim(text: str) -> str:
    """Trim `text` as the server does, with ECMAScript's `String.prototype.trim`."""
    return text.strip(_ECMASCRIPT_SPACE)


def canonical_value(value: str) -> str:
    """Return the form in which a real server stores `value`: trimmed, but with one trailing newline if there was
    one."""
    return trim(value) + ("\n" if value.endswith("\n") else "")


def same_value(stored: str, wanted: str) -> bool:
    """Return whether writing `wanted` would leave the server's value `stored` unchanged, whether or not it trims
    values."""
    return stored in (wanted, canonical_value(wanted))


def is_whole(value: Any) -> bool:
    """Return whether `value` is an integer. A bool, which is an integer in Python, does not count."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(column: Iterable[object]) -> bool:
    """Return whether all items are strings. Joining them is the fastest check for ten thousand items."""
    try:
        "".join(column)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(raw: bytes) -> Any:
    """Parse JSON from a file strictly. Raises ValueError, whose text does not quote the file.

    The file must be UTF-8. Duplicate names in an object, NaN, infinity and lone surrogates are refused.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise ValueError("not JSON that can be used") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def hash_secret(key: str, value: str) -> str:
    """Return the SHA-256 of `key:value` in hex, as printed by `printf %s "KEY:value" | sha256sum`."""
    return hashlib.sha256(f"{key}:{value}".encode()).hexdigest()


def pluralize(count: int, noun: str) -> str:
    """Return a count with its noun: "1 host", "1,000 hosts"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def escape(text: str) -> str:
    """Escape the control characters in untrusted text, such as a name, so that a terminal does not interpret them."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def check_path(path: str) -> str:
    """Return a secret path with single slashes between folders and no trailing slash. Raises ConfigurationError."""
    if not path.startswith("/"):
        raise ConfigurationError("secret_path", f"must start with a slash, like /app/database (got '{path}').")
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise ConfigurationError("secret_path", f"must not contain '.' or '..' (got '{path}').")
    return "/" + "/".join(parts)


def check_name(name: object, option: str = "name") -> str:
    """Return a secret's name as the server stores it, which is trimmed. Raises ConfigurationError."""
    trimmed = trim(_check_string(name, option))
    if not trimmed:
        raise ConfigurationError(option, "must not be empty.")
    if len(trimmed) > LONGEST_NAME:
        raise ConfigurationError(option, f"must have at most {LONGEST_NAME} characters (got {len(trimmed)}).")
    if not _is_text(trimmed) or any(character < " " or character == "\x7f" for character in trimmed):
        raise ConfigurationError(option, "contains control characters or invalid Unicode.")
    return trimmed


def normalize_name(name: str, option: str = "name") -> str:
    """Return `name` in upper case, with each run of characters outside `[A-Z0-9_]` replaced by one underscore.

    Raises ConfigurationError if only underscores would remain.
    """
    normalized = re.sub(r"[^A-Z0-9_]+", "_", trim(name).upper())
    if not normalized.strip("_"):
        raise ConfigurationError(option, f"'{trim(name)}' cannot be normalized, because it has no letter or digit.")
    return normalized


def check_value(value: object, option: str = "value") -> str:
    """Return a secret's value. Raises ConfigurationError, which does not quote the value, if it is not Unicode text."""
    text = _check_string(value, option)
    if not _is_text(text):
        hint = "Encode binary data, for example with b64encode."
        raise ConfigurationError(option, "is not valid Unicode text.", hint=hint)
    return text


def _check_string(value: object, option: str) -> str:
    if value is None:
        raise ConfigurationError(option, NULL)
    if not isinstance(value, str):
        raise ConfigurationError(option, f"must be a string, not {type(value).__name__}.", hint="Quote it in YAML.")
    return value


def check_metadata(metadata: Mapping[Any, Any] | None, option: str = "metadata") -> tuple[tuple[str, str], ...] | None:
    """Return metadata, or the pairs of another option, as sorted pairs, or None for None. Raises ConfigurationError for
    a key or value of a wrong type."""
    if metadata is None:
        return None
    for key, value in metadata.items():
        if not isinstance(key, str) or not key:
            raise ConfigurationError(option, f"the key {key!r} must be a non-empty string.", hint="Quote it.")
        check_value(value, f"{option}.{key}")
    return tuple(sorted(metadata.items()))


def check_keys(keys: Iterable[str] | None, metadata: tuple[tuple[str, str], ...] | None) -> tuple[str, ...]:
    """Return metadata keys in sorted order. Raises ConfigurationError for a key that is not in `metadata`."""
    missing = sorted(set(keys or ()) - {key for key, _value in metadata or ()})
    if missing:
        raise ConfigurationError(
            "encrypted_metadata", f"must be keys of metadata (got {', '.join(missing)}).", hint="Add them to metadata."
        )
    return tuple(sorted(set(keys or ())))


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
