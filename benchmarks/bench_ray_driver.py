def measure(): return {}
def lines(d): return []
