"""Conversations: what a person brings as messages, instructions or turns, as the text that is answered, its answer and the turns before."""
