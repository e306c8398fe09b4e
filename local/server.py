"""What Kafka and PostgreSQL have in common as local servers: a folder, a port, a log, a start and an end."""

import abc
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from local.child import Child
from local.data_folder import locked
from local.errors import LocalServerError
from local.ports import HOST, find_free_port

START_S: Final = 60.0  # a start takes 1 to 5 s; this is for a machine in trouble
STEP_S: Final = 60.0  # for a step before it, such as initdb (1 s)
STOP_GRACE_S: Final = 20.0  # a clean stop takes a second
LOOK_S: Final = 0.02
PORT_ATTEMPTS: Final = 3  # another process may take the free port that was found before the server does
LOG_LINES: Final = 12  # shown of a log when its server fails

# Words in a log, and the hint for them.
HINTS: Final = (
    ("Address already in use", "Another program listens there; stop it, or leave the choice of the port to us."),
    ("No space left on device", "Free some space on that disk."),
    ("Permission denied", "Make the folder, and the packages that were installed, readable for the user named there."),
    ("has wrong ownership", "Another user made that data: run this as that user, or move the folder away."),
    ("annot allocate memory", "Free some memory: Kafka needs 400 MB, PostgreSQL 100 MB."),
)


class LocalServer(abc.ABC):
    """
    A server on loopback, as a child process that cannot outlive this one.

    Args:
        data_dir: Everything of it lies here and is reused by the next start; made if it is missing.
        port: TCP port; None: any free one, found at the first start and kept.
        settings: Over the server's own settings, by their names there.
        preferred_port: Taken if `port` is None and it is free.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        preferred_port: int | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.settings = dict(settings or {})
        self._wanted_port = port
        self._preferred_port = preferred_port
        self._port: int | None = port
        self._child: Child | None = None

    @property
    def host(self) -> str:
        """The address to connect to."""
        return HOST

    @property
    def port(self) -> int:
        """The TCP port; known once the server has been started."""
        if self._port is None:
            raise LocalServerError(f"{self.name} has no port yet", hint="Start the server first.")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id, of its last start."""
        if self._child is None:
            raise LocalServerError(f"{self.name} has no process yet", hint="Start the server first.")
        return self._child.pid

    @property
    def log_path(self) -> Path:
        """What the server said since its last start."""
        return self.data_dir / f"{self.name}.log"

    def start(self) -> None:
        """
        Start the server and wait until it answers; nothing if it runs.

        Raises:
            LocalServerError: It does not come up; the message ends with its log's last lines.
        """
        if self.exit_code() is None and self._child is not None:
            return
        with locked(self.data_dir) as lock:
            self._prepare(lock)
            for attempt in range(1, PORT_ATTEMPTS + 1):
                self._port = self._port or find_free_port(self._preferred_port if attempt == 1 else None)
                try:
                    self._launch(lock)
                except LocalServerError as error:
                    if self._wanted_port or attempt == PORT_ATTEMPTS or HINTS[0][0] not in error.message:
                        raise
                    self._port = None
                else:
                    self._wanted_port = self._port
                    return

    def stop(self) -> None:
        """Stop the server cleanly and wait until nothing of it is left; nothing if it does not run."""
        self._end(self.stop_signal, STOP_GRACE_S)

    def kill(self) -> None:
        """End the server's process with SIGKILL, as a crash would, and wait until nothing of it is left."""
        self._end(signal.SIGKILL, 0)

    def exit_code(self) -> int | None:
        """Return the exit code if the server has ended, for any reason (128 + N: signal N); None while it runs."""
        return None if self._child is None else self._child.poll()

    def log_tail(self) -> str:
        """Return the last lines of its log, indented, without the frames of Java's traces."""
        said = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("\t")]
        return "".join(f"\n    {line}" for line in lines[-LOG_LINES:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @abc.abstractmethod
    def _prepare(self, lock: int) -> None:
        """Put everything a start needs into the data folder."""

    @abc.abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return the server's command, for the port chosen."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Return whether the server that was launched is ready for clients."""

    def _launch(self, lock: int) -> None:
        with self.log_path.open("wb") as output:
            self._child = child = Child(
                self._command(),
                output=output,
                stop_signal=self.stop_signal,
                keep_fds=[lock],
                cwd=self.data_dir,
                env=self._environment(),
            )
        try:
            self._wait_until_it_answers(child, time.monotonic() + START_S)
        except BaseException:  # Ctrl-C, too: nothing half-started is left
            child.stop(signal.SIGKILL, grace_s=0)
            raise

    def _wait_until_it_answers(self, child: Child, deadline: float) -> None:
        while not self._answers():
            if (code := child.poll()) is not None:
                raise self._failed(f"{self.name} did not start on port {self.port}, exit code {code}")
            if time.monotonic() > deadline:
                raise self._failed(f"{self.name} does not answer on port {self.port} after {START_S:.0f} s")
            time.sleep(LOOK_S)

    def _environment(self) -> Mapping[str, str] | None:
        return None

    def _run_step(self, command: Sequence[str | Path], lock: int, *, purpose: str) -> None:
        with self.log_path.open("wb") as output:
            child = Child(command, output=output, keep_fds=[lock], cwd=self.data_dir, env=self._environment())
        try:
            if code := child.wait(STEP_S):
                raise self._failed(f"cannot {purpose}, exit code {code}")
        except TimeoutError:
            raise self._failed(f"cannot {purpose}: not done after {STEP_S:.0f} s") from None
        finally:
            child.stop(signal.SIGKILL, grace_s=0)

    def _failed(self, what: str) -> LocalServerError:
        said = self.log_tail()
        hint = next((hint for words, hint in HINTS if words in said), f"The whole log is {self.log_path}.")
        return LocalServerError(f"{what}{'; its last lines:' if said else ''}{said}", hint=hint)

    def _end(self, number: signal.Signals, grace_s: float) -> None:
        if self._child is not None:
            self._child.stop(number, grace_s=grace_s)
