"""Tests of the code that generates documents."""
