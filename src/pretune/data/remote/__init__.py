"""Data of object stores and web servers: found by address, copied to the cache, checked at each use."""
