"""`regcheck server`: findings in editors, by the Language Server Protocol."""
