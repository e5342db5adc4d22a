"""System calls that Python's library does not have, by ctypes; errors as OSError."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any, Final

__all__ = ["MACHINE", "libc", "prctl", "syscall"]

MACHINE: Final = platform.machine() if sys.platform == "linux" else ""
"""Empty where the kernel is not Linux."""
PR_SET_NO_NEW_PRIVS: Final = 38


def libc() -> Any:
    """The C library, which keeps `errno` for us."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """The result of a call; OSError if it says that it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: Any) -> int:
    """A system call by its number; integers are passed as 64 bits."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    function = libc().syscall
    function.restype = ctypes.c_long
    return checked(function(ctypes.c_long(number), *given))


def prctl(option: int, *arguments: Any) -> int:
    """Change something about this process; what is not given is 0, as the kernel asks."""
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    given += [ctypes.c_ulong(0)] * (4 - len(given))
    return checked(libc().prctl(option, *given))
