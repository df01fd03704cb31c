"""How many connections the operating system lets us hold: each takes an open file."""

import resource

ENOUGH = 8192
"""For five thousand streams, with room for what else a service holds open."""


def raise_open_files() -> str | None:
    """Raises this process's limit as far as it may; one line for people where that is not far."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if hard != resource.RLIM_INFINITY and hard < ENOUGH:
        return f"at most about {hard} connections: raise the hard limit of open files (ulimit -Hn) to {ENOUGH} for more"
    return None
