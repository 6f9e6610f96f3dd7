"""kspike_tf."""
