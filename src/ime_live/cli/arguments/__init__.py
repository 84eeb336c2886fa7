"""Arguments that commands share: settings, environment files, and the choice of contracts."""
