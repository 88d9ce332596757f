"""Judge an archive of pictures or logs block by block, on one machine or on many, and read the results."""
