"""The lake of a session in the words of the k2 program, so that both work on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.place import embedded_folder

# Settings of the k2 program, and how the session's catalog calls them. What the session's catalog does without, k2 does
# without, too.
_CATALOG = {
    "catalog": "uri",
    "catalog-warehouse": "warehouse",
    "catalog-credential": "credential",
    "catalog-token": "token",
    "catalog-scope": "scope",
    "catalog-oauth2-uri": "oauth2-server-uri",
    "catalog-signing-name": "rest.signing-name",
    "catalog-signing-region": "rest.signing-region",
}
# Where the session says nothing of these, its S3 client looks at the catalog's answers and AWS's variables, as k2 does.
_STORE = {"s3-endpoint": "s3.endpoint", "s3-region": "client.region", "s3-path-style": "s3.path-style-access"}
_KEYS = {
    "AWS_ACCESS_KEY_ID": "s3.access-key-id",
    "AWS_SECRET_ACCESS_KEY": "s3.secret-access-key",
    "AWS_SESSION_TOKEN": "s3.session-token",
}
_SECRETS = ("catalog-credential", "catalog-token")
_SIGNED = "rest.sigv4-enabled"
_FOLDERS = ("warehouse", "schemas")


def variable(setting: str) -> str:
    return f"K2_{setting.replace('-', '_').upper()}"


def lake_variables(
    catalog: str, conf: Callable[[str], str], settings: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """K2_* and AWS_* for k2 commands that work on the lake of the session's catalog. An empty one counts as none.

    `conf` gives a setting of the session, "" where it has none; `settings`: flags of the k2 program by name. The
    session's catalog goes before variables, which the session has read before. ConfigurationError: the settings say
    otherwise than the session, or k2 has no such catalog.
    """
    found = {name: value for name, value in environment.items() if name.startswith(("K2_", "AWS_"))}
    found |= {variable(name): value for name, value in settings.items()}
    for name in _FOLDERS:
        value = found.get(variable(name))
        if value and "://" not in value:
            found[variable(name)] = str(Path(value).absolute())
    prefix = f"spark.sql.catalog.{catalog}"
    if not conf(prefix):
        if not (found.get("K2_CATALOG") or found.get("K2_WAREHOUSE")):
            raise ConfigurationError(
                f"this session has no catalog {catalog}: create it with create_spark_session, or name the session's "
                "(K2_SPARK_CATALOG_NAME), or set K2_CATALOG or K2_WAREHOUSE"
            )
        return found
    uri = conf(f"{prefix}.uri")
    kind = conf(f"{prefix}.type") or ("rest" if conf(f"{prefix}.catalog-impl").endswith(".RESTCatalog") else "")
    if kind == "jdbc" and (folder := embedded_folder(uri)):
        _agree("warehouse", settings, str(folder), f"{prefix}.uri", found)
        return found | {"K2_CATALOG": "", "K2_WAREHOUSE": str(folder)}
    if kind != "rest" or not uri:
        raise ConfigurationError(
            f"the native engine works with REST catalogs, and the session's catalog {catalog} is of type "
            f"{kind or 'unknown'}{f' ({uri})' if uri else ''}: use --engine spark, or a REST catalog"
        )
    for name, key in (_CATALOG | _STORE).items():
        value = conf(f"{prefix}.{key}")
        if value or name in _CATALOG:
            _agree(name, settings, value, f"{prefix}.{key}", found)
            found[variable(name)] = value
    signed = "sigv4" if conf(f"{prefix}.{_SIGNED}") == "true" else ""
    _agree("catalog-auth", settings, signed, f"{prefix}.{_SIGNED}", found)
    found[variable("catalog-auth")] = signed
    for name in _SECRETS:  # the session has read the file, which executors need not have
        if found[variable(name)]:
            found.pop(f"{variable(name)}_FILE", None)
    if conf(f"{prefix}.s3.access-key-id"):
        found |= {name: conf(f"{prefix}.{key}") for name, key in _KEYS.items()}
    return found


def _agree(name: str, settings: Mapping[str, str], session: str, key: str, found: Mapping[str, str]) -> None:
    """Raises where a setting was given that is not the session's."""
    given = found[variable(name)] if settings.get(name) else ""
    if not given or given.rstrip("/") == session.rstrip("/"):
        return
    has = repr(session) if session else "not set"
    if name in _SECRETS:
        given, has = "given", "another one" if session else has
    else:
        given = repr(given)
    raise ConfigurationError(
        f"{name} is {given}, and the session's {key} is {has}: both must be of one lake. Leave {name} out, or make the "
        "session with it"
    )
