"""The evaluation report: scores.json files to one self-contained page, and to a Markdown table."""

from nemo_desta.evaluation.report.markdown import write_markdown
from nemo_desta.evaluation.report.page import write_report

__all__ = ["write_markdown", "write_report"]
