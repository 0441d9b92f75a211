"""Display of plain data: HTML for notebooks, figures for papers, and short texts."""
