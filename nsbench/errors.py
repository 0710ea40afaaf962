"""The errors a user can mend. Everything else that is raised is a bug of ours and keeps its traceback."""


class NsbenchError(Exception):
    """One line: what is wrong, where, and what to do. The command line prints it without a traceback."""

    exit_code = 2


class ConfigError(NsbenchError):
    """A wrong preset, key, value or run folder."""


class DataError(NsbenchError):
    """Missing or unreadable data, weights or an optional dependency."""

    exit_code = 3


class OutOfMemory(DataError):
    """A batch does not fit into an accelerator's memory; a smaller one may."""


class TrainingError(NsbenchError):
    """Training cannot go on: a loss that is not finite, or no image left to train on."""

    exit_code = 2


class GateFailed(NsbenchError):
    """A `--fail-on` condition of the report holds."""

    exit_code = 4


class Stopped(BaseException):
    """SIGTERM arrived; the state is saved and the same command continues.

    Like KeyboardInterrupt no `Exception`: what reads a damaged file must not take it for one.
    """

    exit_code = 75


def require(condition: bool, message: str) -> None:
    """Refuse a configuration.

    Raises:
        ConfigError: the condition does not hold; `message` says what, where and what to do.
    """
    if not condition:
        raise ConfigError(message)
