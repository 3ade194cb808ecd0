"""The parts of evaluate.py: cases in, one line a case, a report and a blind comparison out."""
