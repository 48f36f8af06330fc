"""The directory and the bus of replicas: the port, in memory, and on Redis or Valkey."""
