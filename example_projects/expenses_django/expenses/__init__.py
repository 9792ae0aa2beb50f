"""Expenses: handed in by employees, decided by managers, paid."""
