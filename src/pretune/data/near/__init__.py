"""Rows that are nearly the same: texts, pictures and clips. Candidates come from keys, in time that grows with the rows; each
pair of them is then compared by what it is.
"""
