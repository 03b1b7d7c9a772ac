"""Arguments of the commands behind `make`: what is wrong with them is told in one line, and ends with 2."""

import argparse
from typing import NoReturn

USAGE = 2


class Parser(argparse.ArgumentParser):
    """Without argparse's usage in front of the error: whoever typed `make rush` never saw these options."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"doorbuster: {message}\n")


def positive(text: str) -> int:
    """A whole number from 1 up, as argparse reads it."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return number
