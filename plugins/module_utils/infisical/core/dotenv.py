# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as environment variables: writing and reading dotenv files, and the names that are refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from .errors import ConfigurationError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# These characters have no special meaning in any shell. If the name is not a valid variable name, a shell runs the line
# as a command, but a command with such a name can do no harm.
_WRITABLE = re.compile(r"[A-Za-z0-9_.:/@%+,-]+\Z")

# A person who is allowed to write a secret in Infisical must not be able to run code on every host that reads it. An
# asterisk at the end of a name matches any suffix. The list comes from the manuals of common programs and can never be
# complete. The manual page of infisical-sync points this out, and recommends selecting names by pattern.
DANGEROUS: Mapping[str, str] = {
    "it can make programs load code": """
        ALSA_CONFIG_PATH ANT_ARGS ANT_OPTS AWKLIBPATH AWKPATH BUNDLE_GEMFILE BUNDLE_PATH BUN_INSTALL* BUN_OPTIONS
        CAML_LD_LIBRARY_PATH CATALINA_BASE CATALINA_HOME CATALINA_OPTS CELERY_CONFIG_MODULE CLASSPATH CORECLR_*
        COR_ENABLE_PROFILING COR_PROFILER* DENO_DIR DJANGO_SETTINGS_MODULE DOTNET_ADDITIONAL_DEPS DOTNET_ROOT*
        DOTNET_SHARED_STORE DOTNET_STARTUP_HOOKS DYLD_* ELIXIR_ERL_OPTIONS EMACSDATA EMACSLOADPATH EMACSPATH ERL_*
        ES_JAVA_OPTS FLASK_APP GCONV_PATH GDAL_DRIVER_PATH GDK_PIXBUF_MODULE* GEM_HOME GEM_PATH GETCONF_DIR GHCRTS GHC_*
        GIO_EXTRA_MODULES GIO_MODULE_DIR GLIBC_TUNABLES GRADLE_OPTS GSS_MECH_CONFIG GST_PLUGIN* GST_REGISTRY* GS_LIB
        GS_OPTIONS GTK_EXE_PREFIX GTK_IM_MODULE_FILE GTK_MODULES GTK_PATH GUILE_* GUNICORN_CMD_ARGS HADOOP_OPTS
        JAVA_HOME JAVA_OPTIONS _JAVA_OPTIONS JAVA_OPTS JAVA_OPTS_APPEND JAVA_TOOL_OPTIONS JDK_JAVAC_OPTIONS
        JDK_JAVA_OPTIONS JPDA_OPTS JRUBY_OPTS JULIA_* JVM_OPTS KAFKA_OPTS KRB5_CONFIG LD_* LEIN_JVM_OPTS
        LIBGL_DRIVERS_PATH LIBMYSQL_* LOCPATH LUA_* MAGICK_* MAVEN_ARGS MAVEN_OPTS MIX_ARCHIVES MIX_EXS MIX_HOME
        MIX_PATH MONO_CONFIG MONO_ENV_OPTIONS MONO_GAC_PREFIX MONO_PATH MSBUILDSDKSPATH NLSPATH NODE_OPTIONS NODE_PATH
        NODE_REPL_EXTERNAL_MODULE NPM_CONFIG_* npm_config_* OCAMLLIB OCAMLPATH OCAMLRUNPARAM ODBCINI ODBCINSTINI
        ODBCSYSINI OPENSSL_CONF OPENSSL_CONF_INCLUDE OPENSSL_ENGINES OPENSSL_MODULES PACKER_PLUGIN_PATH
        PASSWORD_STORE_ENABLE_EXTENSIONS PASSWORD_STORE_EXTENSIONS_DIR PERL5* PERLLIB PERL_MB_OPT PERL_MM_OPT PHPRC
        PHP_INI_SCAN_DIR PIP_* PSModulePath PYTEST_ADDOPTS PYTEST_PLUGINS PYTHON* QML2_IMPORT_PATH QML_IMPORT_PATH
        QT_PLUGIN_PATH QT_QPA_PLATFORM_PLUGIN_PATH RUBYGEMS_* RUBYLIB RUBYOPT RUBYPATH R_DEFAULT_PACKAGES R_ENVIRON*
        R_HOME R_LIBS* R_PROFILE* SASL_PATH SBT_OPTS SPARK_SUBMIT_OPTS SSH_SK_PROVIDER TCLLIBPATH TCL_LIBRARY TK_LIBRARY
        UV_CONFIG_FILE UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX UV_INDEX_URL UV_PYTHON UV_TOOL_DIR
        UWSGI_* VALGRIND_LIB VIRTUAL_ENV
    """,
    "it selects programs that other programs run": """
        ACK_PAGER ALTERNATE_EDITOR AR AS AUTOCONF AUTOM4TE BAT_PAGER BORG_PASSCOMMAND BORG_RSH BROWSER CARGO_BUILD_*
        CARGO_TARGET_* CC CCACHE_* CGO_* CLOUDSDK_PYTHON* CMAKE_* COLLECT_GCC* COMPILER_PATH CONFIG_SHELL CPP
        CSCOPE_EDITOR CTEST_* CVSEDITOR CVS_RSH CXX DBUS_* DELTA_PAGER DISTCC_* DPKG_* EDITOR FC FCEDIT
        FZF_DEFAULT_COMMAND FZF_DEFAULT_OPTS GCC_EXEC_PREFIX GH_BROWSER GH_EDITOR GH_PAGER GIT_ASKPASS
        GIT_DIFFTOOL_EXTCMD GIT_EDITOR GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_PAGER GIT_PROXY_COMMAND GIT_SEQUENCE_EDITOR
        GIT_SSH GIT_SSH_COMMAND GOCACHEPROG GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES GROFF_BIN_PATH
        GROFF_COMMAND_PREFIX HG HGEDITOR HGMERGE JAVACMD JJ_EDITOR KUBECTL_EXTERNAL_DIFF KUBE_EDITOR LD LESS LESSCLOSE
        LESSEDIT LESSKEY* LESSOPEN LEX M4 MAILER MAKE MAKESHELL MANLESS MANOPT MANPAGER MANROFFOPT P4EDITOR PAGER
        PARALLEL_SHELL PATH PERL PKG_CONFIG* PSQL_EDITOR PSQL_PAGER PUPPETEER_EXECUTABLE_PATH RCLONE_PASSWORD_COMMAND
        RESTIC_PASSWORD_COMMAND RSH RSYNC_CONNECT_PROG RSYNC_RSH RSYNC_SHELL RUSTC RUSTC_* RUSTDOC RUSTUP_* SHELL
        SOPS_EDITOR SSH_ASKPASS SSH_PKCS11_HELPER SSH_SK_HELPER SUDO_ASKPASS SUDO_EDITOR SVN_EDITOR SVN_MERGE SVN_SSH
        SYSTEMD_* TAR_RSH TERRAGRUNT_TFPATH TG_TF_PATH VISUAL WGET_ASKPASS YACC
    """,
    "programs read options from it, which can load code": """
        ARFLAGS BC_ENV_ARGS BZIP BZIP2 CFLAGS CPPFLAGS CXXFLAGS DC_ENV_ARGS FFLAGS GNUMAKEFLAGS GOFLAGS GREP_OPTIONS
        GZIP LDFLAGS LDLIBS MAKEFILES MAKEFLAGS MFLAGS PARALLEL QUILT_PATCH_OPTS RUSTDOCFLAGS RUSTFLAGS TAR_OPTIONS
        TF_CLI_ARGS* TF_REATTACH_PROVIDERS UNZIP UNZIPOPT VALGRIND_OPTS XZ_DEFAULTS XZ_OPT ZIPINFO ZIPOPT
    """,
    "it selects the configuration or sources that programs read, which can load code": """
        ACKRC ACLOCAL_PATH ANSIBLE_* APT_CONFIG AWS_CONFIG_FILE AWS_DATA_PATH AWS_SHARED_CREDENTIALS_FILE
        BAT_CONFIG_PATH BOTO_CONFIG BUNDLE_APP_CONFIG BUNDLE_CONFIG BUNDLE_USER_* CARGO_HOME CLOUDSDK_CONFIG COMPOSER
        COMPOSER_HOME CONDARC CONDA_EXE CONDA_PREFIX CONDA_PYTHON_EXE CONFIG_SITE CONTAINERS_CONF*
        CONTAINERS_HELPER_BINARY_DIR CONTAINERS_REGISTRIES_CONF* CONTAINERS_STORAGE_CONF CPATH CPLUS_INCLUDE_PATH
        CURL_HOME C_INCLUDE_PATH DIRENV_CONFIG DOCKER_CONFIG DOCKER_HOST EXINIT GH_CONFIG_DIR GIT_COMMON_DIR GIT_CONFIG*
        GIT_DIR GIT_TEMPLATE_DIR GIT_WORK_TREE GNUPGHOME GOENV GOPATH GOPROXY GOROOT GOTOOLCHAIN GRADLE_USER_HOME
        GVIMINIT HELM_CACHE_HOME HELM_CONFIG_HOME HELM_DATA_HOME HELM_PLUGINS HGRCPATH HOME INPUTRC IPYTHONDIR IRBRC
        JUPYTER_CONFIG_* JUPYTER_PATH KUBECONFIG LIBRARY_PATH MAILCAPS MAILRC MANPATH MYSQL_HOME MYVIMRC NIX_*
        NVIM_APPNAME OBJC_INCLUDE_PATH PGSERVICEFILE PGSYSCONFDIR PSQLRC RCLONE_CONFIG RIPGREP_CONFIG_PATH SCREENRC
        SYSSCREENRC SYSTEM_WGETRC TERMCAP TERMINFO TERMINFO_DIRS TEXINPUTS TEXMF* TF_CLI_CONFIG_FILE TF_DATA_DIR
        TF_PLUGIN_CACHE_DIR VAGRANT_HOME VIM VIMINIT VIMRUNTIME WGETRC XDG_* YARN_PLUGINS YARN_RC_FILENAME
        YARN_YARN_PATH ZDOTDIR
    """,
    "it determines where programs write, or which host they contact": """
        DEPENDENCIES_OUTPUT HISTFILE HOSTALIASES LOCALDOMAIN MALLOC_TRACE NIS_PATH NODE_V8_COVERAGE PERLIO_DEBUG
        RESOLV_HOST_CONF RES_OPTIONS SUNPRO_DEPENDENCIES
    """,
    "a shell runs its content, or the file that it names": """
        BASH_ENV BASH_LOADABLES_PATH ENV FPATH MODULE_PATH PROMPT PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 RPS1 SPROMPT
    """,
    "it changes how a shell reads, or belongs to the shell itself": """
        _ BASHOPTS BASH_COMPAT BASH_VERSINFO BASH_XTRACEFD CDPATH EUID EXECIGNORE GLOBIGNORE IFS NULLCMD OPTIND
        POSIXLY_CORRECT PPID READNULLCMD SHELLOPTS UID
    """,
    "infisical-sync reads its own configuration and credentials from it": """
        CREDENTIALS_DIRECTORY INFISICAL_*
    """,
}
"""Names that are refused in an environment unless the user allows them explicitly, grouped by the reason."""

_REASONS = {name: reason for reason, names in DANGEROUS.items() for name in names.split()}
_EXACT = {name: reason for name, reason in _REASONS.items() if not name.endswith("*")}
_PREFIXES = tuple((name[:-1], reason) for name, reason in _REASONS.items() if name.endswith("*"))


def select(values: Mapping[str, str], patterns: Collection[str]) -> dict[str, str]:
    """Return the entries whose names match one of the shell patterns (such as `DB_*`), or all if there are no
    patterns."""
    return {
        name: value for name, value in values.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    }  # fmt: skip


def find_unsafe(names: Iterable[str], allowed: Collection[str] = ()) -> dict[str, str]:
    """Return {name: reason} for the names that are refused in an environment, except the names in `allowed`."""
    found = {}
    for name in names:
        reason = "" if name in allowed else _problem(name)
        if reason:
            found[name] = reason
    return found


def _problem(name: str) -> str:
    if not _VARIABLE.match(name):
        return "it is not a valid variable name (letters, digits and underscores, no digit first)"
    by_prefix = (reason for prefix, reason in _PREFIXES if name.startswith(prefix))
    return _EXACT.get(name) or next(by_prefix, "")


def dump(values: Mapping[str, str]) -> str:
    """Return `values` ({name: value}) as a dotenv file, sorted by name, that `sh`, bash and systemd read identically.

    Raises ConfigurationError for content that such a file cannot contain. The message names the secret. Unsafe names
    are not refused here; see `find_unsafe`.
    """
    for name, value in values.items():
        _check_writable(name)
        check_value(name, value)
    # Within double quotes, sh (POSIX, 2.2.3) and systemd's EnvironmentFile remove a backslash before a newline and
    # before the four characters in _SPECIAL, and keep it before any other character. So every backslash is doubled, and
    # a newline is not escaped.
    return "".join(f'{name}="{_SPECIAL.sub(_ESCAPED, value)}"\n' for name, value in sorted(values.items()))


_LONGEST_LINE = 65535
"""Maximum length in bytes of an env_file line that docker and podman can read (bufio.Scanner in Go)."""


def dump_env_file(values: Mapping[str, str]) -> str:
    """Return `values` ({name: value}) for `docker run --env-file` and podman, sorted by name.

    Such a file has no quoting: a value extends from the first equals sign to the end of the line. Raises
    ConfigurationError for content that such a file cannot contain. The message names the secret.
    """
    lines = []
    for name, value in sorted(values.items()):
        line = f"{name}={value}"
        problem = ""
        _check_writable(name)
        if "\n" in value:
            problem = "contains a newline"
        elif "\0" in value:
            problem = "contains a NUL byte"
        elif value.endswith("\r"):
            problem = "ends with a carriage return"
        elif len(line.encode("utf-8")) > _LONGEST_LINE:
            problem = f"makes a line of more than {_LONGEST_LINE} bytes"
        if problem:
            raise ConfigurationError(
                "names", f"the value of '{name}' {problem}, which an env_file cannot contain.",
                hint="Use the format json, or exclude it with the option names.",
            )  # fmt: skip
        lines.append(line + "\n")
    return "".join(lines)


_SPECIAL = re.compile(r'(["\\$`])')
_ESCAPED = r"\\\1"


def _check_writable(name: str) -> None:
    if not _WRITABLE.match(name):
        raise ConfigurationError("names", f"'{name}' cannot be written as a variable.", hint="Export it as JSON.")


def check_value(name: str, value: str) -> None:
    """Raise ConfigurationError if an environment cannot contain the value. The message contains the name only."""
    if "\0" in value:
        problem = f"the value of '{name}' contains a NUL byte, which an environment cannot contain."
        raise ConfigurationError("names", problem, hint="Export it as JSON.")


_BLANK = re.compile(r"[ \t\r\f\v]*(?:#[^\n]*)?(?:\n|\Z)")
_NAME = re.compile(r"[ \t\r\f\v]*(?:export[ \t]+)?([^\s=#'\"`$\\]+)[ \t]*=")
_QUOTE_FOLLOWS = re.compile(r"[ \t]*(?=[\"'])")
_PART = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"|' + r"'([^']*)'|\\([^\n])", re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\$`\n])')
_COMMENT = re.compile(r"[ \t]#")


def parse(text: str) -> dict[str, str]:
    """Return the values in a dotenv file as {name: value}.

    The format of `dump` and other common syntax are accepted: `export` before a name, comments, and values in single
    quotes or without quotes. Nothing is expanded: `$` is an ordinary character. Within double quotes, a backslash is
    removed before `"`, `\\`, `$` and a backtick, and kept before any other character, as in `sh`. A backslash before a
    newline is removed together with the newline. Raises ConfigurationError with the line number, but without the line's
    text, which may be part of a value.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank is not None:
            position = blank.end()
            continue
        line = text.count("\n", 0, position) + 1
        begin = _NAME.match(text, position)
        if begin is None:
            raise _wrong(line, "does not begin with a name and an equals sign")
        name = begin[1]
        if name in values:
            raise _wrong(line, f"sets '{name}' again, after line {lines[name]}")
        values[name], position = _value(text, begin.end(), line)
        lines[name] = line
    return values


def _value(text: str, position: int, line: int) -> tuple[str, int]:
    """Return the value that begins at `position`, and the position of the next line."""
    quoted = _QUOTE_FOLLOWS.match(text, position)
    if quoted is None:
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        return _COMMENT.split(text[position:end], maxsplit=1)[0].strip(" \t\r\f\v"), end + 1
    position = quoted.end()
    parts = []
    while True:
        part = _PART.match(text, position)
        if part is None:
            break
        double, single, escaped = part.groups()
        parts.append(_ESCAPE.sub(_unescaped, double) if double is not None else single or escaped or "")
        position = part.end()
    end_of_line = _BLANK.match(text, position)
    if end_of_line is None:
        unclosed = text[position] in "\"'"
        raise _wrong(line, "begins a quote that is never closed" if unclosed else "has text behind the closing quote")
    return "".join(parts), end_of_line.end()


def _unescaped(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else found[1]


def _wrong(line: int, problem: str) -> ConfigurationError:
    return ConfigurationError(
        "source_file",
        f"line {line} {problem}.",
        hint='Write it as NAME="value", with a backslash before every " \\ $ and backtick in the value.',
    )
