"""The project's version, in its only place."""

from typing import Final

VERSION: Final = "0.1.0"  # a release changes it, with a section of CHANGELOG.md and a tag of the same name
