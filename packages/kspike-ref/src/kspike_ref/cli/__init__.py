"""The command line `kspike`, which needs the extra ``[cli]``: Typer, rich and more."""
