"""The front of threadway: everything that faces a platform, plus the state both packages share."""
