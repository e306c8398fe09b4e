"""The demo's database: made once with its role, its schema brought up to date at every start."""

import psycopg
from psycopg import sql

from common.errors import one_line
from common.settings import Credentials
from local.errors import LocalServerError
from local.postgres import PostgresServer
from local.schema import OTHER_OWNER, apply_schema


def prepare(server: PostgresServer, credentials: Credentials) -> str:
    """
    Create the role and its database if they are missing, and bring the schema up to date.

    Returns:
        The connection string of that role to that database.
    Raises:
        LocalServerError: PostgreSQL refuses a statement.
    """
    owner = {"user": credentials.username, "password": credentials.password.get_secret_value()}
    conninfo = psycopg.conninfo.make_conninfo(server.conninfo(credentials.database), **owner)
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            _make(connection, credentials)
    except psycopg.Error as error:
        raise LocalServerError(
            f"cannot prepare the database {credentials.database}: {one_line(error)}",
            hint=OTHER_OWNER.format(server.data_dir),
        ) from error
    apply_schema(server, credentials.database, credentials.username, credentials.password.get_secret_value())
    return conninfo


def _make(connection: psycopg.Connection, credentials: Credentials) -> None:
    role, database = sql.Identifier(credentials.username), sql.Identifier(credentials.database)
    # Not the password itself: PostgreSQL logs statements that fail.
    secret = credentials.password.get_secret_value().encode()
    verifier = connection.pgconn.encrypt_password(secret, credentials.username.encode(), b"scram-sha-256")
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [credentials.username]).fetchone()
    # The password may have been changed in .env since the last run.
    statement = sql.SQL("ALTER ROLE {} {} PASSWORD {}") if found else sql.SQL("CREATE ROLE {} {} PASSWORD {}")
    attributes = sql.SQL("LOGIN CREATEROLE")  # db/roles.sql makes roles
    connection.execute(statement.format(role, attributes, sql.Literal(verifier.decode())))
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [credentials.database]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
