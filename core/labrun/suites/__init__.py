"""Suites: a published table as arms, settings and rows; which runs it needs, and what they gave."""
