"""Noisy Student training (Xie et al., CVPR 2020): teacher, pseudo-labels, selection, noised student, again."""
