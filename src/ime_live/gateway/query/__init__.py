"""Read what a request asks for: paths, parameters, and what is wrong with them."""
