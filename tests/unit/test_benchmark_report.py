"""Several benchmarks write into one page."""

from pathlib import Path

from benchmarks.report import write_section


def test_each_section_is_replaced_alone(tmp_path: Path) -> None:
    """A benchmark that is run again leaves what others, and people, wrote around it."""
    report = tmp_path / "performance.md"
    write_section("drain", "one", report)
    write_section("dashboards", r"two \1", report)
    report.write_text(report.read_text().replace("# Performance", "# Performance\n\nBy hand."))

    write_section("drain", "three\n", report)

    assert report.read_text() == (
        "# Performance\n\nBy hand.\n\n<!-- begin drain -->\nthree\n<!-- end drain -->\n\n"
        "<!-- begin dashboards -->\ntwo \\1\n<!-- end dashboards -->\n"
    )
