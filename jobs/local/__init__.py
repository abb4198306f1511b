"""Test clusters on one machine, each started with one command."""
