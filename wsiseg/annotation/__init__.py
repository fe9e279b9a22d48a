"""Annotations in and out: one polygon model, and one module for each viewer's format."""
