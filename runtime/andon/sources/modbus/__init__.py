"""Modbus TCP: registers and their types, and a connection that never gives a late reply as the answer to another request."""
