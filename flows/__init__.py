"""When things happen: Prefect flows, the command line and the settings; the only place where stages are ordered."""
