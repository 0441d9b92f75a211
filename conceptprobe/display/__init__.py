"""What people look at, from plain data: HTML for notebooks, figures for papers, short texts."""
