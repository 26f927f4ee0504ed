"""Where the ledger is, and how to connect to it.

A *login* is a person or service with its own rights (DESIGN 14); the ledger's migrations create the roles. With no
``LOYALTY_DATABASE_URL`` the ledger lives in the embedded Postgres, which is started here when it is not running.
"""

from typing import Final, Literal

from pydantic import SecretStr
from sqlalchemy import URL, Engine, create_engine, make_url

from infra import embedded
from infra.settings import Settings

Login = Literal["admin", "batch", "api", "auditor", "approver", "backup", "unsubscribe"]

EMBEDDED_ROLES: Final[dict[Login, str]] = {
    "admin": "postgres",
    "batch": "loyalty_batch",
    "api": "loyalty_api",
    "auditor": "loyalty_auditor",
    "approver": "loyalty_approver",
    "backup": "loyalty_backup",
    "unsubscribe": "loyalty_unsubscribe",
}
DRIVER: Final = "postgresql+psycopg2"


class MissingDatabaseUrl(LookupError):
    """No database URL is set for this login."""

    def __init__(self, login: str, setting: str) -> None:
        """Say which login has no URL, and which setting would give it one."""
        super().__init__(login, setting)
        self.login = login
        self.setting = setting

    def __str__(self) -> str:
        """Name the setting to set."""
        return f"No database URL for the {self.login} login: set {self.setting}."


def ledger_url(settings: Settings, login: Login) -> str:
    """The ledger's URL for one login; starts the embedded Postgres if that is where the ledger lives.

    Raises:
        MissingDatabaseUrl: The ledger is on a server of yours, and this login has no URL.
        infra.cluster.ClusterFailed: The embedded Postgres does not start.
    """
    if settings.database_url is None:
        stray = [name for name in _own_settings(settings) if name != "batch"]
        if stray:
            # Half a ledger here and half there would be worse than a refusal.
            raise MissingDatabaseUrl("batch", "LOYALTY_DATABASE_URL")
        cluster = embedded.postgres(settings)
        cluster.create_database("loyalty")
        return cluster.url(EMBEDDED_ROLES[login], "loyalty", driver=DRIVER)
    url = _own_settings(settings).get(login)
    if url is None and login == "admin":
        url = settings.database_url
    if url is None:
        raise MissingDatabaseUrl(login, f"LOYALTY_{login.upper()}_DATABASE_URL")
    return with_our_driver(url.get_secret_value()).render_as_string(hide_password=False)


def engine(url: str, *, lock_timeout: str = "60s", statement_timeout: str = "1h", connections: int = 1) -> Engine:
    """An engine on the ledger: READ COMMITTED, named sessions, and no wait without an end.

    READ COMMITTED because a verb locks the wallet in one statement and reads it in a later one, which must see what
    the previous holder committed. The timeouts are Postgres's own: Prefect cannot interrupt a task on a thread.
    ``connections`` is how many a job that works slice by slice uses at once.
    """
    address = with_our_driver(url)
    session = f"-c lock_timeout={lock_timeout} -c statement_timeout={statement_timeout} -c timezone=UTC"
    asked = address.query.get("options")
    options = f"{session} {asked}" if isinstance(asked, str) else session
    return create_engine(
        address.difference_update_query(["options"]),
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=max(5, connections + 1),
        execution_options={"connections": connections},
        connect_args={"application_name": "loyalty", "options": options},
    )


def with_our_driver(url: str) -> URL:
    """``postgres://…`` and ``postgresql://…`` as people write them, with the driver this project uses."""
    # SQLAlchemy does not know the short scheme that hosting companies hand out.
    scheme, separator, rest = url.partition("://")
    return make_url(f"postgresql{separator}{rest}" if scheme == "postgres" else url).set(drivername=DRIVER)


def _own_settings(settings: Settings) -> dict[str, SecretStr]:
    urls = {
        "batch": settings.database_url,
        "admin": settings.admin_database_url,
        "api": settings.api_database_url,
        "auditor": settings.auditor_database_url,
        "approver": settings.approver_database_url,
        "backup": settings.backup_database_url,
        "unsubscribe": settings.unsubscribe_database_url,
    }
    return {login: url for login, url in urls.items() if url is not None}
