"""kspike_ref."""
