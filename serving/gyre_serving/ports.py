"""Ports that programs of this plane listen on: read from the command line, and what to do where one cannot be had."""

import argparse
import errno

_LARGEST = 65535


def port(text: str) -> int:
    """A port of the command line.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdecimal() or int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 0 to {_LARGEST}, 0 for a free one")
    return int(text)


def cure(error: OSError, option: str) -> str:
    """What the user can do where a port cannot be listened on; `option` gave it."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"end what listens there, or choose another {option}"
        case errno.EACCES:
            return f"this user may not have it; choose {option} of 1024 or above"
        case _:
            return "choose an address of this machine as --host"
