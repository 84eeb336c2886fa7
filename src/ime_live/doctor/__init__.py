"""What is wrong with a set-up, or with what a publisher sends, in plain words."""
