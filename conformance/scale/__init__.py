"""The scale lane: many machines driven at once for a while, and an oracle that knows what each of them should show."""
