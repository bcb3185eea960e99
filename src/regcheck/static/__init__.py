"""Models and programs as their source tells them: read with `ast`, never imported, without torch."""
