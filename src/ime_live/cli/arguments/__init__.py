"""Arguments: the options and the selection of contracts that commands share."""
