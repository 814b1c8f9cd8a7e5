"""How sure a table is: the judged rows of its runs side by side, and what statistics say of them."""
