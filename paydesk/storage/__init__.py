"""The one database: tables, migrations, and the log of decisions."""
