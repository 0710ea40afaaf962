"""Images with stable ids and classes; nothing here knows about models."""
