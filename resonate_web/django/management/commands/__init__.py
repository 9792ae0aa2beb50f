"""`manage.py resonate`."""
