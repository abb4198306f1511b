"""What happens in a video, when, and where: `gavt events`."""
