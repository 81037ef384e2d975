"""Proofs by killing: at each crash point in turn (here), and at random (in `run`)."""
