"""What every other room stands on: types, hold and live, errors, random streams, selection."""
