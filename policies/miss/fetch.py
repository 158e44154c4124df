"""A missing expert is loaded: the plain cache."""


def serve(n, resident, event, m):
    """All stay LOAD."""
