"""
Write the pins that `jars.py` reads, for another version of Kafka.

    python -m local.pin_jars org.apache.kafka:kafka_2.13:VERSION org.apache.logging.log4j:log4j-slf4j-impl:VERSION! \
        > local/kafka_jars.txt

Each coordinate with all it depends on; with `!` it alone. So is the binding from slf4j to log4j: resolved together with
Kafka, log4j's own list of versions replaces Kafka's client library by an older one, and the broker does not start.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from local.jars import maven


def pin(coordinate: str, repository: Path) -> dict[str, str]:
    """Return coordinates and SHA-256 of one coordinate's jars."""
    context = maven(repository)
    wanted = context.create_dependency(coordinate.removesuffix("!"))
    wanted.scope = "compile"
    found = [wanted] if coordinate.endswith("!") else [wanted, *context.resolver.resolve([wanted])[1]]
    return {
        f"{jar.groupId}:{jar.artifactId}:{jar.version}": hashlib.sha256(jar.artifact.resolve().read_bytes()).hexdigest()
        for jar in found
        if jar.scope in ("compile", "runtime")
    }


def main(coordinates: list[str]) -> None:
    """Print the pins of all coordinates, and how they were made."""
    with tempfile.TemporaryDirectory() as repository:
        pins = {
            name: digest for coordinate in coordinates for name, digest in pin(coordinate, Path(repository)).items()
        }
    lines = [f"{name} {digest}\n" for name, digest in sorted(pins.items())]
    sys.stdout.writelines(
        [f"# Coordinates and SHA-256, written by: python -m local.pin_jars {' '.join(coordinates)}\n", *lines]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
