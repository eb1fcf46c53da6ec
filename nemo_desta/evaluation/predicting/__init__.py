"""From the questions of a benchmark to predictions.jsonl."""
