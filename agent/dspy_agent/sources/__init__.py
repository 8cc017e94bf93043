"""Where a workspace comes from: git, a ConfigMap, a blob, a folder. Each module fetches; `pack` makes the archive."""
