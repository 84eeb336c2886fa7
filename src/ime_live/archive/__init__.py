"""Archive: record the states of a stream in files, one per day, and read them."""
