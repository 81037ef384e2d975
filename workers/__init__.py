"""The pool of threadway: everything that waits, thinks or posts."""
