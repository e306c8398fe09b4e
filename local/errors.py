"""The error of this room: a local server could not be had."""

from common.errors import HeartbeatError


class LocalServerError(HeartbeatError):
    """A server could not be fetched, started or stopped; the message ends with the last lines of its log, if any."""
