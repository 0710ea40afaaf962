"""The report: records of one run, or of several, to one self-contained HTML page and figures for papers. No torch."""
