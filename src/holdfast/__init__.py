"""Holdfast takes a trained model into production and holds it there."""
