"""Linear models on simple features, and linear heads on frozen ones."""
