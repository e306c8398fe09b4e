"""Reads a settings file. Its errors never repeat a value, which may be a password."""

import re
from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError


def unreadable(path: Path, error: OSError | UnicodeDecodeError, *, hint: str) -> ConfigError:
    """Return the error for a file that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
    return ConfigError(f"cannot read the settings file {path}: {why}", hint=hint)


def read_sections(path: Path, sections: list[str]) -> dict[str, Any]:
    """
    Read a settings file.

    Args:
        path: The YAML file.
        sections: The known sections, for the error.
    Returns:
        The file's content by section; empty for an empty file. Names and values are not checked here.
    Raises:
        ConfigError: The file cannot be read, is not YAML, or has no sections.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        hint = "Start the service in the project's folder, or name the file: --config PATH."
        raise unreadable(path, error, hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        # Only the problem and the line's number: the library's text quotes the line, which may hold a password.
        mark = getattr(error, "problem_mark", None)
        said = [getattr(error, part, None) for part in ("context", "problem", "reason")]
        problem = ", ".join(_without_names(words) for words in said if words) or "a value cannot be read"
        raise ConfigError(
            f"cannot read the settings file {path}: {problem}" + (f" (line {mark.line + 1})" if mark else ""),
            hint="Correct the YAML: two spaces of indentation, a colon and a space after each key.",
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(
            f"cannot use the settings file {path}: it has no sections",
            hint=f"Write sections and keys: {', '.join(sections)}.",
        )
    return content


def _without_names(problem: str) -> str:
    """Return the problem without quotes from the file: YAML reads a password that begins with * or ! as a name."""
    return re.sub(r"'([^']*)'", lambda quoted: quoted[0] if _is_syntax(quoted[1]) else "...", problem)


def _is_syntax(quoted: str) -> bool:
    return re.fullmatch(r"\\?.|<[a-z ]+>", quoted) is not None
