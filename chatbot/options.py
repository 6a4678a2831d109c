"""What the options of how a model is loaded are for, in all commands that load one."""

DEVICE = "auto, cpu, cuda or mps."
DTYPE = "auto, float32, bfloat16, float16; int8 for half the memory on a CPU."
COMPILE = "Compile the model first: a minute, then faster replies."
