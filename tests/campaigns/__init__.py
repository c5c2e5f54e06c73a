"""Campaigns of hostile input; `frame` says what one is, ``make torture`` runs them all."""
