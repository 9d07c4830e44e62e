"""The past as time series: reads what the cloud still lists, and writes it down with the times at which it was so."""
