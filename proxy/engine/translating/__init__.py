"""What translated dialects are given: runs, their threads and messages, and the way of their events."""
