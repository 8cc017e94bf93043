"""What the tools share: where things lie, how progress is told, how programs are started."""
