"""Tables, summaries, exported data and figures."""

__all__: list[str] = []
