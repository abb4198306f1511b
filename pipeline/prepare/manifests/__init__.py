"""Lists of videos to rows with unique ids: `read.VideoList`. `formats/` holds a file for each kind of list."""
