"""Archive: the states of a stream in files, one per day, and how they are recorded and read."""
