"""What a run of the zoo comes to."""
def summary(rows): return ""
