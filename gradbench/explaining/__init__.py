"""What is held constant, why, and the proof in numbers: the measurements behind `gradbench explain`."""
