"""The paper's Tables 2 to 7: what is printed in them, filled with what was measured, and every cell judged."""
