"""What a worker must set so that its calls come through us: lists of variables, and how shells write them.

Pure: services, an entrance and the worker's own environment in, variables out. `headgate env`, `headgate run` and the
start message of `serve` print the same lists. Law: what the worker had set itself is kept wherever both can hold.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from rules.policy import PLACEHOLDER, Service

Mode = Literal["base-url", "proxy"]
Shell = Literal["sh", "fish", "json", "dotenv"]
MODES: tuple[Mode, ...] = ("base-url", "proxy")
SHELLS: tuple[Shell, ...] = ("sh", "fish", "json", "dotenv")

# The mark of `headgate run` in its child: a nested `run` passes its command through.
ACTIVE = "HEADGATE_ACTIVE"

# Never through a proxy (operators 3): this machine, and names inside a Kubernetes cluster.
_DIRECT = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")
# Variables that replace the roots of the tool that reads them (operators 3, provider-facts 6.1).
REPLACING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "PERL_LWP_SSL_CA_FILE",
    "DENO_CERT",
)
# The one that adds to them.
ADDING = "NODE_EXTRA_CA_CERTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The proxy port as a worker reaches it, and the client token it shows, if any."""

    url: str
    """`http://HOST:PORT`, no path, no credentials."""
    host: str
    port: int
    credentials: str = field(default="", repr=False)
    """`NAME:TOKEN@` as it stood in the URL, or nothing."""

    @property
    def token(self) -> str | None:
        return unquote(self.credentials[:-1].partition(":")[2]) or None

    @property
    def proxy_url(self) -> str:
        """With the credentials: the value of HTTP_PROXY."""
        return self.url.replace("//", f"//{self.credentials}", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Files that make our leaves trusted."""

    ca: Path
    """Our certificate alone, PEM."""
    bundle: Path
    """Every root the worker had, and ours, PEM."""
    truststore: Path
    """The bundle as PKCS#12, for Java."""
    password: str
    """Of the truststore; nothing secret."""


def parse_entrance(url: str) -> Entrance:
    """`http://[NAME:TOKEN@]HOST[:PORT]`. Raises ValueError, which never quotes the URL: it may hold a token."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if host is None or parts.scheme != "http" or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("the URL of a Headgate looks like http://127.0.0.1:8080 or http://NAME:TOKEN@HOST:PORT")
    user, at, _ = parts.netloc.rpartition("@")
    shown = f"[{host}]" if ":" in host else host
    return Entrance(url=f"http://{shown}:{port}", host=host, port=port, credentials=user + at)


def variables(
    mode: Mode, services: Iterable[Service], entrance: Entrance, environ: Mapping[str, str], trust: Trust | None
) -> dict[str, str]:
    """What a worker sets for `mode`; `trust` is needed in proxy mode only."""
    if mode == "base-url":
        return base_url_variables(services, entrance, environ)
    if trust is None:
        raise ValueError("proxy mode needs the certificate")
    return proxy_variables(services, entrance, environ, trust)


def base_url_variables(services: Iterable[Service], entrance: Entrance, environ: Mapping[str, str]) -> dict[str, str]:
    """Base URLs of the SDKs we know, and a key for each SDK to start with."""
    found: dict[str, str] = {}
    for service in services:
        for name in service.base_url_env:
            found[name] = f"{entrance.url}/{service.name}{service.base_path}"
        found |= _key_variables(service, entrance, environ)
    return found


def proxy_variables(
    services: Iterable[Service], entrance: Entrance, environ: Mapping[str, str], trust: Trust
) -> dict[str, str]:
    """Proxy variables in both cases (some programs read only one), and every way to be told of a CA."""
    direct = _no_proxy(entrance, environ)
    found: dict[str, str] = {}
    for name, value in (("HTTP_PROXY", entrance.proxy_url), ("HTTPS_PROXY", entrance.proxy_url), ("NO_PROXY", direct)):
        found |= {name: value, name.lower(): value}
    # Node reads the proxy variables only when told so (22.21, 24.0 and later).
    found["NODE_USE_ENV_PROXY"] = "1"
    found |= {name: str(trust.bundle) for name in REPLACING}
    # It adds to Node's own roots, so our CA is enough, unless the worker had one of its own there: the bundle has both.
    foreign = environ.get(ADDING) not in (None, "", str(trust.ca), str(trust.bundle))
    found[ADDING] = str(trust.bundle if foreign else trust.ca)
    found["JAVA_TOOL_OPTIONS"] = _java_options(entrance, environ, trust)
    for service in services:
        found |= _key_variables(service, entrance, environ)
    return found


def render(found: Mapping[str, str], shell: Shell) -> str:
    """Lines that set the variables, for `eval`, `source`, a `.env` file or a program.

    Raises ValueError for a value with a control character: no `.env` form carries one everywhere.
    """
    for name, value in found.items():
        if not value.isprintable():
            raise ValueError(f"{name} would hold a control character")
    if shell == "json":
        return json.dumps(found, indent=2) + "\n"
    write = {"sh": _sh, "fish": _fish, "dotenv": _dotenv}[shell]
    return "".join(f"{write(name, value)}\n" for name, value in found.items())


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _dotenv(name: str, value: str) -> str:
    # Unquoted where every reader agrees: docker's --env-file keeps quotes as part of the value.
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./|*\[\]-]*", value):
        return f"{name}={value}"
    if "'" not in value:
        return f"{name}='{value}'"
    escaped = re.sub(r'([\\"$`])', r"\\\1", value)
    return f'{name}="{escaped}"'


def _key_variables(service: Service, entrance: Entrance, environ: Mapping[str, str]) -> dict[str, str]:
    """A key for the SDK to start with: a client token, else the worker's own, else the placeholder."""
    if not service.base_url_env:  # no SDK that we know
        return {}
    if entrance.token is not None:
        return dict.fromkeys(service.key_env, entrance.token)
    return {name: PLACEHOLDER for name in service.key_env if not environ.get(name)}


def _no_proxy(entrance: Entrance, environ: Mapping[str, str]) -> str:
    own = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [*_DIRECT, entrance.host, *(name.strip() for name in own.split(","))]
    return ",".join(dict.fromkeys(name for name in names if name))


def _java_options(entrance: Entrance, environ: Mapping[str, str], trust: Trust) -> str:
    properties = {
        "javax.net.ssl.trustStore": str(trust.truststore),
        "javax.net.ssl.trustStoreType": "PKCS12",
        "javax.net.ssl.trustStorePassword": trust.password,
        "http.proxyHost": entrance.host,
        "http.proxyPort": str(entrance.port),
        "https.proxyHost": entrance.host,
        "https.proxyPort": str(entrance.port),
        "http.nonProxyHosts": "localhost|127.*|[::1]",
    }
    ours = [f"-D{name}={value}" for name, value in properties.items()]
    # The JVM splits at white space and honours quotes; what the worker set stays, what an earlier us set goes.
    kept = [word for word in _split(environ.get("JAVA_TOOL_OPTIONS", "")) if not _sets(word, properties)]
    return " ".join(shlex.quote(word) if re.search(r"[\s'\"]", word) else word for word in [*kept, *ours])


def _sets(word: str, properties: Mapping[str, str]) -> bool:
    return word.startswith("-D") and word[2:].partition("=")[0] in properties


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError:  # an open quote: pass it on as it is
        return options.split()
