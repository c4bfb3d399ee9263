"""The video-LMM and its training: what one trial computes. Imports neither `ablate` nor `analysis`."""
