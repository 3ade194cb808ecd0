"""The parts of prepare.py: photos in, a cache, a report and a copying risk out."""
