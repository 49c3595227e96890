"""Look at scenes: a page for the browser (`scene`) and pictures without one (`render`)."""
