"""Entry point of the command line: ``kspike`` or ``python -m kspike_ref``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command line and exit: 0 for success, 1 for a failure, 2 for wrong use."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"kspike: {' and '.join(missing)} must be installed: pip install 'kspike-ref[cli]'\n"
        )
        raise SystemExit(2)
    from kspike_ref.cli.app import run

    run()


if __name__ == "__main__":
    main()
