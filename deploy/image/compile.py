"""Runs while the image is built: bytecode of the modules that the service loads, and of no other.

Much of what is installed is never imported (dialects, lexers, clients of clouds): 20 MB of bytecode
that nobody would read. The bytecode is not checked against its source's time, which the image sets
to 1970, and so it is the same in every build.
"""

import importlib
import py_compile
import sys
from pathlib import Path

# What `paydesk run`, `keys`, `migrate` and `bank` load, some of it only when it is first used.
LOADED = (
    "_bentoml_impl.server.app",
    "alembic.command",
    "psycopg",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "paydesk.cli",
    "paydesk.container",
    "paydesk.payments.sandbox",
    "service",
)


def compile_loaded(packages: Path) -> None:
    """Compiles what `LOADED` loads from the folder `packages`."""
    for name in LOADED:
        importlib.import_module(name)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for file in sorted(file for file in files if file and file.endswith(".py")):
        if Path(file).is_relative_to(packages):
            py_compile.compile(
                file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )


if __name__ == "__main__":
    compile_loaded(Path(sys.argv[1]))
