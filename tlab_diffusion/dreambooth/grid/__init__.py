r"""Grid search: learning rate x steps, as an Optuna study that many workers share.

record      the grid and its cells
folder      what lies on the disk, and who may write it
study       the trials
worker      who trains and measures
search      one worker, or several in processes of their own
page        what there is to see: table, heat map, pictures
progress    how far it is
"""
