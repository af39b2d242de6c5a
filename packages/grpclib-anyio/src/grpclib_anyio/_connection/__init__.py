"""One HTTP/2 connection of either side; read ``connection`` first, because it shows the parts."""
