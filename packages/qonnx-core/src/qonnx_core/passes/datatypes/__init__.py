"""The rules by which data types follow from each other, operator by operator."""
