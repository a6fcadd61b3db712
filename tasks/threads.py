"""One thread per process, set before torch is imported: quicker on small machines, the same bits everywhere.

Several threads on few cores spin more than they work, and their number changes the last bits of a sum. A
machine with cores to spare may set the variables itself; its digests are then its own.
"""

import os

DEFAULTS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def limit() -> None:
    """Give each variable its default unless the environment already has a value."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
