"""`make parity`: our modules against numbers that the official classes gave, stored in a folder of fixtures."""
