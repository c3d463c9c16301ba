"""The command line: train, report, evaluate, predict, sample, export, backprop, audit, grade, gradcheck and so on.

Each module holds one group of commands; a command's imports happen when it runs.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from ..show.document import printable
from .diagnosing import doctor
from .gradients import audit, backprop, explain, gradcheck
from .grading import grade
from .models import evaluate, export, predict, sample
from .output import echo
from .training import report, train
from .tuning import tune


class _Program(click.Group):
    """Lists its commands in the order in which they were added, and prints errors in the arguments safely."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run, and exit."""
        try:
            status = super().main(*args, **settings | {"standalone_mode": False})
        except click.ClickException as error:
            vars(error)["message"] = printable(error.message, keep="\n")
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            echo("Aborted!", err=True)
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(self.commands)


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from .. import __version__

        echo(f"chainrule {__version__}")
        ctx.exit()


@click.group(
    cls=_Program,
    no_args_is_help=True,
    context_settings={"show_default": True},
    commands=[
        train,
        report,
        tune,
        evaluate,
        predict,
        sample,
        export,
        backprop,
        audit,
        grade,
        gradcheck,
        explain,
        doctor,
    ],
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="print the version")
def app() -> None:
    """Backpropagation with the lid off: train networks on a CPU and look at every gradient."""


def main() -> None:
    """Run the command line."""
    app()
