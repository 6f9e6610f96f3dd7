"""The command line `kspike`, for which the extra ``[cli]`` installs Typer, rich and more."""
