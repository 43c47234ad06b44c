r"""Grid search: learning rate x steps, by one worker or many that share a folder.

result      the grid and its trials
store       the folder: what lies on the disk, and the locks of those who write it
worker      trains and measures
search      one worker, or several in processes of their own
report      table, heat map and pictures
console     progress in the terminal
"""
