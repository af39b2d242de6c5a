"""One HTTP/2 connection of either side: start with ``connection``, which shows the parts."""
