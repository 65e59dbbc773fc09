"""Parts of the bench of the queue; `scripts/bench/dispatch.py` puts them together."""
