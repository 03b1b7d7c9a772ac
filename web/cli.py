"""Commands for operators: `flask users create-admin`."""

import sys

import click
from flask import Flask
from flask.cli import AppGroup
from pydantic import ValidationError

from models.accounts import EmailTakenError, create_account
from models.user import Role
from web.schemas_accounts import SignUpBody

users = AppGroup("users", help="Accounts.")


@users.command("create-admin")
@click.option("--email", required=True, help="The address to log in with.")
@click.option("--name", default="Admin", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
def create_admin(email: str, name: str, *, password_stdin: bool) -> None:
    """Make an account that may do everything. The password is never an argument: those are seen by others."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        checked = SignUpBody.model_validate({"name": name, "email": email, "password": password})
        user = create_account(checked.name, checked.email, checked.password, Role.ADMIN)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise click.UsageError(f"{first['loc'][0]}: {first['msg']}") from None
    except EmailTakenError as error:
        raise click.ClickException(error.message) from None
    click.echo(f"Admin {user.email} has the id {user.id}.")


def init_cli(app: Flask) -> None:
    app.cli.add_command(users)
