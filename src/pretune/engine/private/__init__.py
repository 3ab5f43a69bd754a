"""Private training (DP-SGD): which rows are drawn, their clipped gradients, the noise, and what all of it gives away."""
