"""Results of a run: frozen values, and pure functions of them."""
