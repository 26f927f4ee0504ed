"""Settings: typos are refused, secrets are not repeated, a child process reads what we read."""

import pytest

from infra.database import MissingDatabaseUrl, ledger_url, with_our_driver
from infra.embedded import IncompleteStorage, storage_access
from infra.prefect_api import api_url, serves_prefect, ui_url
from infra.settings import InvalidSettings, Settings, child_environment, settings


@pytest.fixture(autouse=True)
def an_empty_environment(monkeypatch):
    for name in (
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
        *(f"LOYALTY_{n.upper()}" for n in Settings.model_fields),
    ):
        monkeypatch.delenv(name, raising=False)


def test_a_mistyped_setting_is_refused_with_the_right_name(monkeypatch):
    monkeypatch.setenv("LOYALTY_DATABSE_URL", "postgresql://elsewhere/ledger")

    with pytest.raises(InvalidSettings, match="did you mean LOYALTY_DATABASE_URL"):
        settings()


def test_a_refused_value_is_not_repeated(monkeypatch):
    monkeypatch.setenv("LOYALTY_PREFECT_PORT", "hunter2")

    with pytest.raises(InvalidSettings, match="LOYALTY_PREFECT_PORT") as refusal:
        settings()

    assert "hunter2" not in str(refusal.value)


def test_a_child_process_reads_the_same_settings(monkeypatch, tmp_path):
    chosen = Settings(
        home=tmp_path, database_url="postgresql://u:secret@db/ledger", prefect_port=4300, task_runner="threads:2"
    )

    for name, value in child_environment(chosen).items():
        monkeypatch.setenv(name, value)

    assert settings() == chosen


def test_a_secret_is_not_printed():
    assert "hunter2" not in repr(Settings(database_url="postgresql://u:hunter2@db/ledger"))


def test_the_home_is_absolute_wherever_one_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert settings().home == tmp_path / ".loyalty"


def test_each_login_of_a_server_of_yours_has_its_own_url():
    ours = Settings(database_url="postgres://batch@db/ledger", auditor_database_url="postgresql://auditor@db/ledger")

    assert ledger_url(ours, "batch") == "postgresql+psycopg2://batch@db/ledger"
    assert ledger_url(ours, "admin") == "postgresql+psycopg2://batch@db/ledger"
    assert ledger_url(ours, "auditor") == "postgresql+psycopg2://auditor@db/ledger"
    with pytest.raises(MissingDatabaseUrl, match="LOYALTY_APPROVER_DATABASE_URL"):
        ledger_url(ours, "approver")


def test_half_a_ledger_on_your_server_is_refused():
    with pytest.raises(MissingDatabaseUrl, match="LOYALTY_DATABASE_URL"):
        ledger_url(Settings(admin_database_url="postgresql://admin@db/ledger"), "admin")


def test_a_password_survives_the_change_of_driver():
    url = with_our_driver("postgres://user:p%40ss%2Fword@db:5433/ledger?sslmode=require")

    assert url.password == "p@ss/word"  # noqa: S105 - made up
    assert url.render_as_string(hide_password=False).endswith("@db:5433/ledger?sslmode=require")


def test_an_endpoint_without_keys_is_refused():
    with pytest.raises(IncompleteStorage, match="LOYALTY_S3_SECRET_ACCESS_KEY"):
        storage_access(Settings(s3_endpoint_url="https://s3.example.com"))


def test_the_embedded_key_is_made_once_and_kept_from_others(tmp_path):
    first = storage_access(Settings(home=tmp_path / "home"))

    assert storage_access(Settings(home=tmp_path / "home")) == first
    assert storage_access(Settings(home=tmp_path / "other")) != first
    assert (tmp_path / "home" / "s3.secret").stat().st_mode & 0o077 == 0


def test_a_shell_that_points_at_our_own_server_does_not_make_it_somebody_elses():
    own = Settings(prefect_port=4300, prefect_api_url="http://127.0.0.1:4300/api")
    foreign = Settings(prefect_api_url="https://prefect.example.com/api")

    assert serves_prefect(own)
    assert not serves_prefect(foreign)
    assert api_url(foreign) == "https://prefect.example.com/api"
    assert ui_url(foreign) == "https://prefect.example.com/v2"


def test_an_address_to_listen_on_is_not_one_to_call():
    assert api_url(Settings(prefect_host="0.0.0.0")) == "http://127.0.0.1:4200/api"  # noqa: S104 - what is tested
