"""What runs inside a worker process: the only room that computes."""
