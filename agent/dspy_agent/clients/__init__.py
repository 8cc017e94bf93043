"""One module per service that the agent talks to; library errors stop here and become ours."""
