"""Keypoints that others found in a video, to those of its samples: `poses.read_poses`."""
