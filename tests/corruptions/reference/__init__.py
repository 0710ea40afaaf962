"""The corruptions and the 32 px films once more, on the host: the independent reference of the tests.

NumPy, SciPy, scikit-image, Pillow and OpenCV, as close to the authors' statements as vectorising over images allows:
uint8 images [N, H, W, 3], the severity's constants and one random generator per image in, values in [0, 255] out, not
yet cut to whole numbers. It shares no code with `nsbench.corruptions`. `given` feeds it the draws of the tested code.
"""
