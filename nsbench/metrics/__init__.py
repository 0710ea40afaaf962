"""Numbers from predictions: pure functions on NumPy arrays, without files and without torch.

Import the module that is meant (`from nsbench.metrics.corruption import mean_ce`). What is undefined is `nan`,
never 0; `ValueError` means the caller passed arrays that do not fit.
"""
