"""What watches a training run and draws it. Observers never change what is trained."""
