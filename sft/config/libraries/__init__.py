"""Names, types and effects of the libraries' arguments, without importing the libraries."""
