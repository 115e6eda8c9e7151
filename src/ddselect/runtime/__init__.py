"""What every stage needs: store, files, errors, seeds, trainers, loggers."""
