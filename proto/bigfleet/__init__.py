"""BigFleet's wire contracts."""
