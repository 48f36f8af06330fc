"""The admin listener: who may call it, and what each of its paths answers."""
