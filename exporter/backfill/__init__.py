"""History as time series: reads the jobs the cloud still lists, and writes samples with past timestamps."""
