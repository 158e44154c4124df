"""The one exception that a user's mistake raises: one clear line, no traceback at the command line."""


class UserError(ValueError):
    """What is wrong, the value, the rule and the nearest fix, in one line; the command line exits with code 2."""


class DoesNotFit(UserError):
    """More memory is asked for than the machine has."""


class Missing(UserError):
    """An optional package is not installed; the line ends with the command that installs it."""
