"""A process that refreshes a source's pinned keys again and again, until it is killed.

Usage: python -m tests.faults.refreshing SOURCE
"""

from __future__ import annotations

import sys
import threading


def main(name: str) -> None:
    import django

    django.setup()
    threads = [threading.Thread(target=refresh_for_ever, args=[name]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:  # pools take no work once the main thread has ended
        thread.join()


def refresh_for_ever(name: str) -> None:
    from hotdata.exceptions import HotdataError
    from hotdata.freshness.refresh import refresh
    from hotdata.models import Source

    source = Source.objects.get(name=name)
    while True:
        try:
            refresh(source, source.pinned_keys())
        except HotdataError as error:  # that some calls fail is meant
            print(error, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
