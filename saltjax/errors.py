"""The one exception for mistakes that the user can mend."""


class InputError(ValueError):
    """A flag, config, data file or run folder is not as it must be.

    The message says what was found, what was expected, where, and what to do. `launch.py` prints
    it without a traceback and ends with status 2.
    """
