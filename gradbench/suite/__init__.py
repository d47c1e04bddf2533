"""TOML to validated suites, cells and claims."""
