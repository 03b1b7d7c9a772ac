"""Commands for operators: `flask users create-admin`, `flask restored`, `flask doctor`, `flask history`."""

import sys
from dataclasses import asdict

import click
from flask import Flask
from flask.cli import AppGroup
from pydantic import ValidationError

from models.accounts import EmailTakenError, create_account
from models.audit import audit_sale
from models.restored import anybody_is_at_work, reconcile
from models.schedule import current_sale_ids
from models.user import Role
from web.cli_doctor import doctor
from web.cli_history import history
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


@click.command("restored")
@click.option("--alone", is_flag=True, help="Both servers were started for this alone: signs of life are of the copy.")
def restored(*, alone: bool) -> None:
    """After a restore, before anything is started: make Redis say what PostgreSQL knows, and recount every sale."""
    if not alone and anybody_is_at_work():
        raise click.ClickException("a worker or beat is at work: stop everything but the two servers, wait 15 s")
    for name, count in asdict(reconcile()).items():
        click.echo(f"{name.replace('_', ' ')}: {count}")
    wrong = [audit.sale_id for sale_id in current_sale_ids() if not (audit := audit_sale(sale_id)).agrees]
    if wrong:
        raise click.ClickException(f"the books of these sales do not agree: {', '.join(map(str, wrong))}")
    click.echo("every book agrees")


def init_cli(app: Flask) -> None:
    app.cli.add_command(users)
    app.cli.add_command(restored)
    app.cli.add_command(doctor)
    app.cli.add_command(history)
