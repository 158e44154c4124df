"""The one exception that a user's mistake raises: one clear line, no traceback at the command line."""


class UserError(ValueError):
    """What is wrong, the value, the rule and the nearest fix, in one line; the command line exits with code 2."""


class DoesNotFit(UserError):
    """More memory is asked for than the machine has."""


class Missing(UserError):
    """An optional package is not installed; the line ends with the command that installs it."""


LATEST_PS = 2**63 - 1  # the last picosecond that the clock counts: 106 days


def too_long() -> UserError:
    """The run would end behind LATEST_PS."""
    return UserError(
        "the run lasts longer than the clock counts, 2**63 ps (106 days of simulated time): play fewer tokens (--tokens), or look for "
        "a bandwidth or a size in the inputs that is off by orders of magnitude"
    )
