"""The start of the command line, before anything that takes time is imported."""

import _signal  # type: ignore[import-not-found] # `signal` imports enum, which takes milliseconds


def main() -> None:
    """Runs the command line; Ctrl-C ends it without a traceback from its first moment on."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the next import is done
    from saltjax.system import signals

    signals.end_at_once()
    from saltjax import __main__

    __main__.main()
