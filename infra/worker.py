"""The process worker, imported while the server is still starting: that saves seconds of every ``loyalty up``.

Run as ``python -m infra.worker --name here``. Once the pool is there, this is ``prefect worker start`` and no more.
"""

import argparse
import sys
import time

from infra.prefect_api import POOL, connect
from infra.settings import settings


def main() -> None:
    """Import, wait for the pool, become the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    asked = parser.parse_args()

    # The point of this module; whoever imports it for another reason need not wait for Prefect.
    import prefect.cli.worker  # noqa: PLC0415 - see above
    import prefect.workers.process  # noqa: F401, PLC0415 - see above
    from prefect.cli import app  # noqa: PLC0415 - see above

    server = connect(settings())
    while not server.has_pool():
        time.sleep(0.1)
    sys.argv = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", asked.name]
    app()


if __name__ == "__main__":
    main()
