"""ImageNet-C and -P as files: the released sets' own layout, made from any folder of images.

`<target>/<corruption>/<severity>/<class>/<name>.JPEG` and `<target>/<perturbation>/<class>/<name>.mp4`. A file is a
pure function of its source image and the settings, so a run can be stopped, continued, or extended by other cells.
"""
