"""What the libraries' arguments are called, hold and do here, without importing the libraries."""
