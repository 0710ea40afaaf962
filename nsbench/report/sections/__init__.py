"""One file for each section of the page: rows in, view model out."""
