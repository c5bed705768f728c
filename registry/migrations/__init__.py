"""How the record database came to be what it is, one revision after the other; Alembic applies what is missing."""
