"""The words of the house as types: pure, standard library only, imported by everybody."""
