"""The `ray` engine: any other engine on every free slot of a Ray cluster."""
