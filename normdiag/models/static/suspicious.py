"""Names that no model needs and that run programs, open files or talk to the net when a pickle calls them.

After the list of picklescan (https://github.com/mmaitre314/picklescan), less what pickles of modules hold rightfully,
such as builtins.getattr for a bound method. Nothing here decides what is run: nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable

_MODULES = frozenset(
    {
        "os", "posix", "nt", "posixpath", "ntpath", "subprocess", "_posixsubprocess", "pty", "shutil", "sys", "runpy",
        "importlib", "imp", "pkgutil", "code", "codeop", "ctypes", "_ctypes", "marshal", "pickle", "_pickle", "socket",
        "_socket", "socketserver", "ssl", "http", "httplib", "urllib", "urllib2", "requests", "aiohttp", "webbrowser",
        "ftplib", "smtplib", "telnetlib", "xmlrpc", "asyncio", "_thread", "bdb", "pdb", "cProfile", "profile", "timeit",
        "trace", "doctest", "pydoc", "pip", "ensurepip", "venv", "idlelib", "lib2to3", "commands",
    }
)  # fmt: skip
_BUILTINS = frozenset({"eval", "exec", "execfile", "compile", "open", "breakpoint", "__import__", "input", "apply"})
_NAMES = frozenset(
    {
        "torch.load", "torch.hub.load", "torch.jit.load", "torch.serialization.load", "numpy.load", "numpy.fromfile",
        "torch.utils._config_module.load_config", "numpy.testing._private.utils.runstring", "joblib.load", "dill.loads",
        "operator.methodcaller", "types.CodeType", "types.FunctionType",
    }
)  # fmt: skip
# Plain data in some checkpoints.
_HARMLESS = frozenset({"posixpath.join", "os.environ", "platform.uname_result"})


def suspicious(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the dotted names that a model has no use for, sorted."""
    return tuple(sorted(name for name in names if name not in _HARMLESS and _is_suspicious(name)))


def _is_suspicious(name: str) -> bool:
    top, _, rest = name.partition(".")
    if top in ("builtins", "__builtin__"):
        return rest in _BUILTINS
    return top in _MODULES or name in _NAMES
