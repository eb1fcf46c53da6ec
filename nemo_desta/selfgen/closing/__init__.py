"""The end of a self-generation, when all rows are there: duplicates are set apart, report and dataset card are written.

records.jsonl, filtered/, failed/, summary.json   --finish-->   the same without duplicates, report.md, README.md
"""

from nemo_desta.selfgen.closing.corpora import corpora_of
from nemo_desta.selfgen.closing.duplicates import DuplicateOptions
from nemo_desta.selfgen.closing.finish import finish

__all__ = ["DuplicateOptions", "corpora_of", "finish"]
