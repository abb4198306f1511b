"""`gavt demo`: a page of one's own machine that shows where a video's sound comes from, and lets one hear it."""
