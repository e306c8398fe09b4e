"""Spark's own web page: to look, and nothing else."""

import json
from urllib.request import urlopen

import pytest

from local.waiting import wait_until
from tests.pipeline import Topic
from tests.spark.conftest import StartSpark
from tests.spark.test_spark_log import START_S

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(800)]


def test_page_stops_no_job(start_spark: StartSpark, topic: Topic) -> None:
    """It asks for no password, and by default it has a link that kills each running job."""
    topic.create()
    spark = start_spark()
    (ready,) = wait_until(lambda: list(spark.events("spark ready")), START_S, "Spark")
    page = ready["ui"].removeprefix("http://")
    with urlopen(f"http://{page}/api/v1/applications", timeout=30) as answer:
        (application,) = json.load(answer)
    with urlopen(f"http://{page}/api/v1/applications/{application['id']}/environment", timeout=30) as answer:
        properties = dict(json.load(answer)["sparkProperties"])

    assert properties["spark.ui.killEnabled"] == "false"
    assert spark.stop() == 0
