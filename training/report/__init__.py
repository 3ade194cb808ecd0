"""The end of a run: its result, its judgement, and a report of scores, curves and images as Markdown and HTML."""
