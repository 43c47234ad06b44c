"""Show a run: its log and samples on disk, `report.html`, and the progress bar in the terminal.

In: the trainer's events and the metrics. Out: files in the output folder, lines in the terminal.
"""
