"""The step table, the workspace that steps read and write, and the runners that walk the table."""
