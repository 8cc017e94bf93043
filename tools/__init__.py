"""Programs that build, test and run this project; none of them is part of what users install."""
