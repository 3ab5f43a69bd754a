"""Windows and macOS, as far as they can be played on Linux: ``python -X warn_default_encoding -m elsewhere SYSTEM FOLDER STORY``.

Pretune's own modules see ``os`` and ``signal`` without what the system lacks, and find no ``fcntl`` or ``resource``; libraries are
taken to run there, as their makers test them. Below FOLDER files behave as that system's do: Windows renames and removes nothing
that is open or mapped, opens no folder, forces nothing that was opened for reading, and knows no name with a colon.
What this cannot show: drives, paths of another form, how fast anything is, and whatever nobody thought of.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib
import io
import os
import pathlib
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["LACKS", "play"]

_NO_FOLDERS = ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_SYNC", "O_TMPFILE")
_UNIX = (
    "chown", "chroot", "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "fpathconf", "getegid", "geteuid", "getgid", "getloadavg",
    "getpgid", "getpriority", "getsid", "getuid", "killpg", "lchown", "lockf", "major", "mkfifo", "mknod", "nice", "openpty", "pathconf", "posix_fadvise",
    "posix_fallocate", "posix_spawn", "pread", "pwrite", "readv", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setpgid",
    "setsid", "setuid", "statvfs", "fstatvfs", "sync", "sysconf", "tcgetpgrp", "ttyname", "uname", "wait3", "wait4", "waitid", "writev",
    "SCHED_OTHER", "WNOHANG",
)  # fmt: skip
_LINUX = (
    "copy_file_range", "eventfd", "getrandom", "getxattr", "listxattr", "memfd_create", "pidfd_open", "posix_fadvise", "posix_fallocate",
    "sched_getaffinity", "sched_setaffinity", "setxattr", "splice", "O_TMPFILE", "O_DIRECT",
)  # fmt: skip
_SIGNALS = (
    "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGPROF", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGXCPU", "SIGXFSZ",
    "ITIMER_REAL", "ITIMER_VIRTUAL", "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
)  # fmt: skip
LACKS: dict[str, dict[str, tuple[str, ...]]] = {
    "windows": {
        "os": (*_NO_FOLDERS, *_UNIX, *_LINUX),
        "signal": _SIGNALS,
        "modules": ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    },
    "macos": {"os": _LINUX, "signal": ("SIGRTMIN", "SIGPWR", "SIGSTKFLT", "sigtimedwait"), "modules": ()},
}
_HIDDEN = ("/proc", "/sys")
_COLON = set(':*?"<>|')


def play(system: str, folder: Path) -> None:
    """From now on this process is on ``system``, and files below ``folder`` behave as its files do."""
    lacks = LACKS[system]
    warnings.filterwarnings("error", category=EncodingWarning, module="pretune")  # cp1252 there, UTF-8 here
    _hide_account_of_linux()
    stand_ins: dict[str, Any] = {
        name: _without(importlib.import_module(name), lacks[name]) for name in ("os", "signal")
    }
    if system == "windows":
        _mind_open_files(folder.resolve())
        _open_as_windows(stand_ins["os"])
        _tell_memory_as_windows()
    _imported_by_pretune(stand_ins, lacks["modules"])


def _without(module: types.ModuleType, names: tuple[str, ...]) -> types.ModuleType:
    less = types.ModuleType(module.__name__)
    vars(less).update({name: value for name, value in vars(module).items() if name not in names})
    return less


def _imported_by_pretune(stand_ins: dict[str, Any], absent: tuple[str, ...]) -> None:
    real = builtins.__import__

    def imported(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        asker = (globals or {}).get("__name__") or ""
        if asker.split(".")[0] == "pretune" and not level:
            if name.split(".")[0] in absent:
                raise ImportError(f"no module named {name!r} on this system")
            if name in stand_ins:
                return stand_ins[name]
        return real(name, globals, locals, fromlist, level)

    assert "pretune.files" not in sys.modules, "too late: pretune has seen this system"
    builtins.__import__ = imported


def _hide_account_of_linux() -> None:
    """Python's ``Path`` finds no /proc; psutil, which has its own way on each system, does."""
    real_open, real_stat = io.open, Path.stat

    def opened(file: Any, *words: Any, **named: Any) -> Any:
        if isinstance(file, Path) and str(file).startswith(_HIDDEN):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return real_open(file, *words, **named)

    def stat(self: Path, **named: Any) -> Any:
        if str(self).startswith(_HIDDEN):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return real_stat(self, **named)

    pathlib.io.open, Path.stat = opened, stat  # type: ignore[attr-defined]


def _open_as_windows(seen: Any) -> None:
    """What pretune does with descriptors itself."""
    real_open, real_fsync = os.open, os.fsync

    def opened(path: Any, flags: int, *words: Any, **named: Any) -> int:
        if os.path.isdir(path):  # noqa: PTH112 - it may be a descriptor's name
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real_open(path, flags, *words, **named)

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real_fsync(descriptor)

    seen.open, seen.fsync = opened, fsync
    seen.supports_fd = set()


def _tell_memory_as_windows() -> None:
    import psutil

    told = psutil.Process.memory_info
    psutil.Process.memory_info = lambda self: types.SimpleNamespace(**told(self)._asdict(), peak_wset=told(self).rss)


def _mind_open_files(top: Path) -> None:
    """Renaming and removing below ``top`` is refused for what is open or mapped in this process, and for names that Windows does not know."""

    def minding(real: Callable[..., Any], *, replaces: bool) -> Callable[..., Any]:
        def called(path: Any, *words: Any, **named: Any) -> Any:
            given = [
                Path(os.fsdecode(each)).absolute()
                for each in (path, *words)
                if isinstance(each, str | bytes | os.PathLike)
            ]
            if named.get("dir_fd") is None and named.get("src_dir_fd") is None:
                for each in given:
                    if each.is_relative_to(top):
                        _refuse_open(each)
                if len(given) > 1 and not replaces and given[1].exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(given[1]))
                if len(given) > 1 and replaces and given[1].is_dir():
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(given[1]))
            return real(path, *words, **named)

        return called

    for name, replaces in {"rename": False, "replace": True, "unlink": False, "remove": False, "rmdir": False}.items():
        setattr(os, name, minding(getattr(os, name), replaces=replaces))
    # shutil removes trees by descriptors where the system can, which Windows cannot
    import shutil

    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    real_open, real_mkdir = io.open, os.mkdir

    def known(name: Any) -> None:
        path = Path(os.fsdecode(name)).absolute() if isinstance(name, str | bytes | os.PathLike) else None
        if (
            path
            and path.is_relative_to(top)
            and any(_COLON & set(part) or part.endswith((" ", ".")) for part in path.relative_to(top).parts)
        ):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))

    def opened(file: Any, mode: str = "r", *words: Any, **named: Any) -> Any:
        if mode[:1] in "wax":
            known(file)
        return real_open(file, mode, *words, **named)

    def mkdir(path: Any, *words: Any, **named: Any) -> None:
        known(path)
        real_mkdir(path, *words, **named)

    pathlib.io.open = builtins.open = opened  # type: ignore[attr-defined]
    os.mkdir = mkdir


def _refuse_open(path: Path) -> None:
    """Raises PermissionError where this process has the file, or one in the folder, open or mapped."""
    text = os.fspath(path)
    with real_text("/proc/self/maps") as lines:
        held = [line.split(maxsplit=5)[5].rstrip("\n") for line in lines if text in line]
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - Path sees no /proc here
        try:
            held.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        except OSError:
            continue
    for each in held:
        if each == text or each.startswith(text + os.sep):
            sys.stderr.write(f"{text}: {each} is open\n")
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), text)


real_text = open


def main() -> None:
    """Play the system, and tell the story: a function ``MODULE:NAME`` that takes the folder."""
    system, folder, story = sys.argv[1:]
    play(system, Path(folder))
    module, name = story.split(":")
    getattr(importlib.import_module(module), name)(Path(folder))


if __name__ == "__main__":
    main()
