"""Data: what models are trained and measured on."""
