"""How the states of a text's tokens become one vector."""
