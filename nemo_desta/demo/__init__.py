"""The demo: the whole method end to end on small real models, and a report of it."""
