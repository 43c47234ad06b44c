r"""Grid search: learning rate x steps, by one worker or many that share a folder.

result      the grid and its trials
store       the folder of a grid: its files, and the locks of the workers that write them
worker      trains and measures
search      runs one worker, or several in separate processes
report      table, heat map and pictures
console     progress in the terminal
"""
