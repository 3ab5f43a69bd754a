"""Copies of known kinds, made of the rows of a data set: how many of them do the checks find?"""
