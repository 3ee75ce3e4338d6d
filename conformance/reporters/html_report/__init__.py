"""Writes report.html."""
