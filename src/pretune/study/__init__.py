"""Many runs: recipes. It calls the verbs."""
