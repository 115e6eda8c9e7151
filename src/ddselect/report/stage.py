"""The report: results, page and table of a run, in the run's own folder instead of the store."""

from ddselect.runtime.stage import Stage

REPORT = Stage(
    name="report", version=0, reads=("index", "student", "quality?"), key=lambda _: {}, run="", scope="student"
)
