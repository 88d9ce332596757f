"""Pictures in files: headers, decoder, encoder, folders."""
